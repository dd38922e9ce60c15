story "Paths fail under I/O: one costs nothing, all only cost time, and no write comes late"
requires MPX-001 MPX-002 MPX-006
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
cut compute-1 path=1
write v at=0 length=64KiB
write v at=0 length=64KiB
write v at=32KiB length=4KiB
heal compute-1 path=1
wait 150
verify v
cut compute-1 path=2
write v at=0 length=64KiB
write v at=0 length=64KiB
heal compute-1 path=2
wait 150
verify v
cut compute-1
wait 20
heal compute-1
write v at=64KiB length=64KiB
verify v
detach v compute-1
delete v
census
