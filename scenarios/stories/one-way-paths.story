story "A path that carries one direction only counts as lost, and I/O goes on over the other"
requires MPX-001 MPX-002
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
# Requests arrive and are carried out; nobody hears of it.
cut compute-1 path=1 way=to-host
write v at=0 length=64KiB
write v at=32KiB length=4KiB
heal compute-1 path=1
wait 150
verify v
# Answers would arrive; nothing asks for them.
cut compute-1 path=2 way=to-array
write v at=0 length=64KiB
write v at=16KiB length=4KiB
heal compute-1 path=2
wait 150
verify v
detach v compute-1
delete v
census
