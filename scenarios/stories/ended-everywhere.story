story "A forced detach that names no host leaves the volume mapped nowhere, and the others where they are"
requires ATT-001 CLU-001
host compute-1
host compute-2 paths=2

create v size=1GiB
create w size=1GiB
attach v compute-1
attach w compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
flush v
revoke v compute-1 everywhere=yes
write w at=64KiB length=64KiB
# The host has lost its device: without force it cannot flush, and keeps it.
detach v compute-1 refused=io
settle
verify v
verify w
detach w compute-2
delete v
delete w
census
