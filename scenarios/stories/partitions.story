story "A guest gets the whole volume, also when it has a partition table"
requires ATT-006 ATT-001 DAT-004
host compute-1
host compute-2 paths=2

create v size=1GiB
attach v compute-1
forge v as=partitions
detach v compute-1
attach v compute-1
write v at=1MiB length=64KiB
detach v compute-1
attach v compute-2
verify v
detach v compute-2
delete v
census
