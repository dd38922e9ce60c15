story "Slow paths and paths of small segments only cost time"
requires ISC-023
host compute-1
host compute-2 paths=2

create v size=1GiB
create w size=1GiB
attach v compute-1
attach w compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
slow compute-1 ms=250
write v at=8KiB length=4KiB
slow compute-2 ms=20 segment=7
write w at=8KiB length=4KiB
verify v
verify w
heal compute-1
heal compute-2
detach v compute-1
detach w compute-2
delete v
delete w
census
