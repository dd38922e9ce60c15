story "Lowering the limit never makes an existing volume uncloneable; zero means full copies"
requires CLN-002 CLN-003 CLN-004 CLN-006 FLT-001 DAT-004
option tengling_max_clone_depth 3
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
write a at=128KiB length=4KiB
create b size=1GiB volume=a
create c size=1GiB volume=b
create d size=1GiB volume=c
depth d 3
restart tengling_max_clone_depth=1
create e size=1GiB volume=d
depth e 0
depth d 3
create f size=1GiB volume=a
depth f 1
restart tengling_max_clone_depth=0
create g size=2GiB volume=c
depth g 0
verify g
verify e
detach a compute-1
delete b
delete a
delete c
verify d
delete d
delete f
delete e
delete g
census
