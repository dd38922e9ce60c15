story "A full copy of a clone holds what the clone wrote and what it inherited"
requires CLN-001 CLN-003 DAT-004
option tengling_max_clone_depth 3
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=256KiB
create b size=1GiB volume=a
attach b compute-1
write b at=64KiB length=64KiB
restart tengling_max_clone_depth=0
create c size=1GiB volume=b
depth c 0
verify c
create d size=2GiB volume=c
depth d 0
detach a compute-1
detach b compute-1
delete b
delete a
verify c
verify d
delete c
delete d
census
