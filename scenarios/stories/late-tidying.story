story "A deleted parent that the array would not give up after a flatten goes when the flatten is asked for again"
requires CLU-005 CLN-011
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=128KiB
detach a compute-1
create b size=1GiB volume=a
delete a
arm "rest.before:DELETE lun" nth=0 do=fail
flatten b
disarm
settle
verify b
delete b
census
