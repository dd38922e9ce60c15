story "Deleted links of a chain count as long as the array has them"
requires CLN-002 CLN-003 CLN-004 CLN-006 CLN-011
option tengling_max_clone_depth 2
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=128KiB
detach a compute-1
create b size=1GiB volume=a
create c size=1GiB volume=b
depth c 2
delete b
create d size=1GiB volume=c
depth d 0
verify d
delete a
create e size=1GiB volume=c
depth e 0
delete c
verify d
verify e
delete d
delete e
census
