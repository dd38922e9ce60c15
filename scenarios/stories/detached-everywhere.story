story "A forced detach that names no host ends every mapping of the volume and no other"
requires CLU-001
host compute-1
host compute-2 paths=2

create v size=1GiB
create w size=1GiB
create x size=1GiB
attach v compute-1
attach w compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
flush v
revoke v compute-1 everywhere=yes
# The next volume comes to the LUN that was given up.
attach x compute-1
write x at=0 length=64KiB
write w at=64KiB length=64KiB
detach v compute-1
settle
verify v
verify x
attach v compute-2
write v at=64KiB length=4KiB
flush v
detach v compute-2
detach w compute-2
detach x compute-1
delete v
delete w
delete x
census
