story "Two paths to one volume: one map, one identity, one size"
requires ATT-001 ATT-002 ATT-004 ATT-006 MPX-003 EXT-004 CLU-006 DAT-002
host compute-1 paths=2
host compute-2

create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-1
write a at=0 length=1MiB
write b at=4KiB length=256KiB
extend a size=2GiB
write a at=2097088KiB length=64KiB
detach a compute-1
write b at=8KiB length=4KiB
verify b
attach a compute-2
verify a
detach a compute-2
detach b compute-1
delete a
delete b
census
