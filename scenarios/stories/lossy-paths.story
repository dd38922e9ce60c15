story "Paths that lose segments, which TCP sends again, only cost time"
requires ISC-023 ISC-005 ISC-007 ISC-008
host compute-1
host compute-2 paths=2

create v size=1GiB
create w size=1GiB
# Logging in over it, and everything that follows.
slow compute-1 ms=2 loss=20
attach v compute-1
write v at=0 length=256KiB
verify v
attach w compute-2
write w at=0 length=64KiB
# One path of two loses more than every third.
slow compute-2 path=1 ms=1 loss=35
write w at=16KiB length=64KiB
unmap w at=32KiB length=8KiB
extend w size=2GiB
verify w
# A connection that ends comes back over what loses as well.
reset compute-2
write w at=1GiB length=64KiB
verify w
# In crumbs too.
slow compute-1 ms=0 segment=48 loss=5
write v at=64KiB length=16KiB
verify v
heal compute-1
heal compute-2
verify v
verify w
detach v compute-1
detach w compute-2
delete v
delete w
census
