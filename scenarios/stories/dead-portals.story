story "An attach without any portal that answers ends, leaves the host as it was, and can be tried again"
requires ATT-012 CLU-001 CLU-006
host compute-1 paths=2

create v size=1GiB
cut compute-1
attach v compute-1 refused=io
heal compute-1
wait 150
attach v compute-1
write v at=0 length=64KiB
detach v compute-1
delete v
census
