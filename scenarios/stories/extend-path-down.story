story "An extend while a path is down: when the path is back, it has the new size like the others"
requires EXT-004 MPX-003 EXT-001
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
cut compute-1 path=2
wait 20
extend v size=2GiB
write v at=1GiB length=64KiB
heal compute-1 path=2
wait 150
cut compute-1 path=1
write v at=2097088KiB length=64KiB
verify v
heal compute-1 path=1
wait 150
detach v compute-1
delete v
census
