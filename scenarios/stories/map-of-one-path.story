story "A map whose only path went stale goes with it, and its volume can be detached"
requires ATT-006 MPX-007 CLU-006
host compute-1 paths=2

create a size=1GiB
create b size=1GiB
# The map gets one path only.
cut compute-1 path=2
attach a compute-1
write a at=0 length=64KiB
flush a
revoke a compute-1
# Takes the LUN over: the stale device goes, and nothing is left for the map.
attach b compute-1
write b at=0 length=64KiB
detach a compute-1
verify b
heal compute-1 path=2
wait 150
detach b compute-1
verify a
delete a
delete b
census
