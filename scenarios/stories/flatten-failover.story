story "A flatten goes on when a controller fails under it"
requires FLT-004 API-014 FLT-001 CLU-001
host compute-1 paths=2
# The first flatten stands still half-way for long enough; under the second one the controller fails that works on it.
fault "job.split.50" nth=1 do=delay ms=3000
fault "job.split.50" nth=2 do=crash

create a size=1GiB
attach a compute-1
write a at=0 length=256KiB
write a at=256MiB length=64KiB
write a at=512MiB length=64KiB
write a at=768MiB length=64KiB
create b size=1GiB volume=a
@work flatten b
@plant wait 1
@plant fail-controller 0
depth b 0
verify b
restore-controller 0
wait 3
create c size=1GiB volume=a
flatten c
depth c 0
verify c
restore-controller 0
restore-controller 1
wait 3
verify a
detach a compute-1
delete a
delete b
delete c
