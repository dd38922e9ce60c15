story "A reservation is asked for and given up over any path that works, for all of them"
requires SCS-012 MPX-001
host compute-1 paths=2
host compute-2

create v size=1GiB
attach v compute-1
reserve v compute-1
write v at=0 length=64KiB
cut compute-1 path=1
write v at=64KiB length=64KiB
reserved v compute-1
heal compute-1 path=1
wait 60
cut compute-1 path=2
write v at=128KiB length=64KiB
reserved v compute-1
unreserve v compute-1
heal compute-1 path=2
wait 60
write v at=0 length=4KiB
detach v compute-1
# Nothing of it is left in the way of the next host.
attach v compute-2
write v at=4KiB length=4KiB
detach v compute-2
delete v
census
