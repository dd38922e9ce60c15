story "Unmap clears its range and nothing beside it"
requires SCS-007 SCS-009 CLN-009 DAT-003 DAT-008
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=512KiB
unmap v at=4KiB length=4KiB
unmap v at=60KiB length=8KiB
unmap v at=127KiB length=66KiB
unmap v at=256KiB length=64KiB
unmap v at=511KiB length=512B
write v at=130KiB length=1KiB
create w size=1GiB volume=v
attach w compute-1
unmap w at=0 length=2KiB
write w at=300KiB length=512B
unmap w at=384KiB length=64KiB
verify w
verify v
detach v compute-1
detach w compute-1
delete w
delete v
census
