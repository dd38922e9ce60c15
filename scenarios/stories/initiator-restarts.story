story "A host whose initiator is killed gets its volumes back, and nothing of it is in the way of others"
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
restart-initiator compute-1
verify v
write v at=32KiB length=64KiB
verify v
# Twice in a row; then what was extended is seen at its new size, and what was detached stays away.
restart-initiator compute-2
restart-initiator compute-2
verify w
verify x
extend w size=2GiB
restart-initiator compute-2
write w at=1GiB length=64KiB
detach x compute-2
restart-initiator compute-2
verify w
attach x compute-1
verify x
# A reservation of the host outlives its initiator.
reserve v compute-1
restart-initiator compute-1
reserved v compute-1
write v at=0 length=4KiB
unreserve v compute-1
# After the array has lost what its write cache held, the host that starts again reads what is left.
write v at=128KiB length=64KiB
power-loss
restart-initiator compute-1
verify v
verify x
detach v compute-1
detach w compute-2
detach x compute-1
delete v
delete w
delete x
census
