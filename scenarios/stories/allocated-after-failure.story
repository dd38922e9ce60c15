story "A volume in an error status takes its capacity as any other does"
requires CAP-001 CAP-008 QTA-001
host compute-1

create a size=4GiB
arm "rest.before:PUT lun/expand" nth=0 do=fail
extend a size=5GiB
disarm
restart
create b size=1GiB
settle
create c size=1GiB
delete b
delete c
census
