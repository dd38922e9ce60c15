story "A volume whose detach fails and that comes back leaves alone what its host has under its old LUN"
requires ATT-004 ATT-006
host compute-1 paths=2

create a size=1GiB
create b size=1GiB
attach a compute-1
flush a
revoke a compute-1
fail-controller 0
attach b compute-1
restore-controller 0
write b at=0 length=64KiB
verify b
detach a compute-1
verify b
settle
write b at=32KiB length=64KiB
detach b compute-1
attach a compute-1
attach b compute-1
detach a compute-1
delete a
detach b compute-1
delete b
census
