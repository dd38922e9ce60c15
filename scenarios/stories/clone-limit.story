story "The array's limit for clones of one source is told as such, and what is there stays whole"
requires CLN-008 CLN-001 CLU-005
array clones=2
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
create c1 size=1GiB volume=a
create c2 size=1GiB volume=a
create c3 size=1GiB volume=a refused=limit
delete c1
create c3 size=1GiB volume=a
verify c2
verify c3
detach a compute-1
delete a
delete c2
delete c3
census
