story "A host that loses its power gets its volumes back, and nothing of it is in the way of others"
requires DUR-007 DAT-001 DAT-004
host compute-1
host compute-2 paths=2

create v size=1GiB
create w size=1GiB
create x size=1GiB
attach v compute-1
attach w compute-2
attach x compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
write x at=1MiB length=64KiB
# It is back before the array has missed it: the new session takes the place of the old one.
reboot compute-1 off=1
verify v
write v at=32KiB length=64KiB
verify v
# The array has long given the sessions up.
reboot compute-2 off=180
verify w
verify x
write w at=32KiB length=64KiB
extend w size=2GiB
detach x compute-2
# Twice in a row, and what was detached stays away.
reboot compute-2 off=2
reboot compute-2 off=2
verify w
attach x compute-1
verify x
# A reservation of a host that goes down is still its own.
reserve v compute-1
reboot compute-1 off=1
reserved v compute-1
write v at=0 length=4KiB
unreserve v compute-1
detach v compute-1
detach w compute-2
detach x compute-1
delete v
delete w
delete x
census
