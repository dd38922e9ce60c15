story "What a guest writes into its volume is never taken for an image header"
requires EXT-001 CLN-001 DAT-004
host compute-1

create v size=1GiB
attach v compute-1
write v at=1MiB length=64KiB
forge v as=qcow2
detach v compute-1
extend v size=2GiB
create c size=2GiB volume=v
verify c
attach v compute-1
write v at=1GiB length=64KiB
extend v size=3GiB
detach v compute-1
delete c
delete v
census
