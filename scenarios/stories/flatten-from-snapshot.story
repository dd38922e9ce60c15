story "With tengling_flatten_volume_from_snapshot a volume from a snapshot is born independent"
requires FLT-001 FLT-003 FLT-005 CLN-006 SNP-002 DAT-004
option tengling_flatten_volume_from_snapshot True
host compute-1

create base size=1GiB
attach base compute-1
write base at=0 length=64KiB
write base at=200KiB length=132KiB
snapshot s base
write base at=204KiB length=4KiB
create child size=1GiB snapshot=s
depth child 0
flatten child
write base at=200KiB length=4KiB
detach base compute-1
delete-snapshot s
delete base
verify child
delete child
census
