story "The array's limit for clones one behind another is told as such, and what is there stays whole"
requires CLN-008 CLN-001 CLU-005
array chain=3
option tengling_max_clone_depth 10
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
create b size=1GiB volume=a
create c size=1GiB volume=b
create d size=1GiB volume=c
create e size=1GiB volume=d refused=limit
verify d
flatten d
create e size=1GiB volume=d
verify e
detach a compute-1
delete a
delete e
delete d
delete c
delete b
census
