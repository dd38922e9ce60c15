story "Extend, offline and attached: old bytes stay, new bytes read zero"
requires EXT-001 EXT-002 EXT-005 EXT-006 QTA-003 DAT-003 DAT-004
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
write v at=1048512KiB length=64KiB
snapshot s v
extend v size=2GiB
write v at=1GiB length=4KiB
detach v compute-1
extend v size=3GiB
extend v size=2GiB refused=invalid
extend v size=3GiB refused=invalid
create w size=4GiB volume=v
verify w
extend w size=5GiB
create old size=1GiB snapshot=s
verify old
attach v compute-1
write v at=3145664KiB length=64KiB
verify v
detach v compute-1
delete w
delete old
delete-snapshot s
delete v
census
