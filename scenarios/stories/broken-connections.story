story "Connections that are reset or half open are made anew"
requires ISC-015 ISC-024 EXT-004
host compute-1
host compute-2 paths=2

create v size=1GiB
create w size=1GiB
attach v compute-1
attach w compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
reset compute-1
write v at=32KiB length=64KiB
reset compute-2 path=1
write w at=32KiB length=64KiB
verify v
verify w
half-open compute-1 side=array
write v at=0 length=4KiB
half-open compute-1 side=host
write v at=4KiB length=4KiB
half-open compute-2 path=2 side=array
write w at=0 length=4KiB
half-open compute-2 side=host
write w at=4KiB length=4KiB
verify v
verify w
# A path that is just being made anew is waited for.
reset compute-2 path=1
extend w size=2GiB
verify w
detach v compute-1
detach w compute-2
delete v
delete w
census
