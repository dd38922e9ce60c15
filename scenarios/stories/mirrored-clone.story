story "The far half of a linked clone holds what the clone wrote and what it inherited"
requires DAT-009 CLN-001 CLU-001
option tengling_max_clone_depth 3
remote
host compute-1

create base size=1GiB
attach base compute-1
write base at=0 length=512KiB
detach base compute-1
create web size=1GiB volume=base
attach web compute-1
write web at=64KiB length=64KiB
write web at=300KiB length=4KiB
mirror web as=sync
sync web
alike web
write web at=400KiB length=512B
alike web
unmirror web
detach web compute-1
delete web
delete base
census
