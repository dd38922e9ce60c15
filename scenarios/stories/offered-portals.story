story "A host is offered every portal that works, and none that does not"
requires ATT-017 ATT-001 MPX-005
host compute-1 paths=2
host compute-2

create a size=1GiB
create b size=1GiB
attach a compute-1
write a at=0 length=64KiB
fail-controller 0
attach b compute-2
write b at=0 length=64KiB
detach b compute-2
restore-controller 0
wait 5
attach b compute-2
write b at=64KiB length=64KiB
detach b compute-2
detach a compute-1
delete a
delete b
census
