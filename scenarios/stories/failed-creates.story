story "A create that fails half-way leaves nothing on the array"
requires CRE-009 CLU-001 CLU-005 QTA-004
host compute-1
# Every expand fails, so a clone that must grow is made, cannot be finished, and has to be undone.
fault "rest.before:PUT lun/expand" nth=0 do=fail

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
create b size=2GiB volume=a refused=busy
create c size=1GiB volume=a
snapshot s a
create d size=2GiB snapshot=s refused=busy
verify c
detach a compute-1
delete c
delete-snapshot s
delete a
census
