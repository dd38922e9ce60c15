story "A controller that fails over its own background work is told as failed, and the work goes on"
requires OBS-004 FLT-004 CLU-001
host compute-1 paths=2

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
write web at=512MiB length=64KiB
create copy size=1GiB volume=web
# The controller that copies fails half-way; the other one goes on, and the array says what has happened.
arm "job.split.50" do=crash masked=yes
inspect alarm/currentalarm count=0
flatten copy
depth copy 0
inspect alarm/historyalarm count=1 name="Controller Fault"
restore-controller 0
restore-controller 1
wait 5
inspect alarm/currentalarm count=0
verify copy
verify web
detach web compute-1
delete copy
delete web
census
