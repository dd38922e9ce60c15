story "A deleted parent lives on silently until its last child goes"
requires CLN-006 CLN-011 FLT-003 CLU-001 CLU-005 DAT-004
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=256KiB
detach a compute-1
create b size=1GiB volume=a
create c size=1GiB volume=b
delete a
delete b
verify c
depth c 2
create d size=1GiB volume=c
delete c
verify d
flatten d
depth d 0
verify d
delete d
census
