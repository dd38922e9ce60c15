story "A host with a dead portal attaches over the others, and gets the rest when the portal is back"
requires MPX-012 ATT-001 MPX-001 CLU-006
host compute-1 paths=2

create v size=1GiB
cut compute-1 path=2
attach v compute-1
write v at=0 length=64KiB
heal compute-1 path=2
wait 150
cut compute-1 path=1
write v at=64KiB length=64KiB
verify v
heal compute-1 path=1
wait 150
detach v compute-1
delete v
census
