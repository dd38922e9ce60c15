story "The array tells which pool is fuller than its threshold and which controller has failed, as long as it lasts"
requires OBS-004 CLU-001
pool pool0 64GiB
host compute-1 paths=2

create web size=1GiB
attach web compute-1
inspect alarm/currentalarm count=0
inspect alarm/historyalarm count=0
fill pool0 leave=1GiB
inspect alarm/currentalarm count=1 name="Storage Pool Capacity Threshold Reached" location=pool0
drain pool0
inspect alarm/currentalarm count=0
inspect alarm/historyalarm count=1 name="Storage Pool Capacity Recovered" location=pool0
# A volume is served by the other controller while its own one is down, and comes home afterwards.
inspect lun/{web} OWNINGCONTROLLER=0A WORKINGCONTROLLER=0A
fail-controller 0
inspect alarm/currentalarm count=1 name="Controller Fault" location=0A
inspect lun/{web} OWNINGCONTROLLER=0A WORKINGCONTROLLER=0B
write web at=0 length=64KiB
restore-controller 0
wait 5
inspect alarm/currentalarm count=0
inspect lun/{web} WORKINGCONTROLLER=0A
verify web
detach web compute-1
delete web
census
