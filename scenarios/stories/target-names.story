story "Hosts use targets whose names are as long as names may be"
requires ATT-001 MPX-001
# RFC 7143 section 4.2.7.1: a name has up to 223 bytes. Each portal has one of its own.
array target-name=223
host compute-1 paths=2
host compute-2

create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-2
write a at=0 length=64KiB
write b at=0 length=64KiB
intrude a compute-2
extend a size=2GiB
write a at=1GiB length=64KiB
cut compute-1 path=1
write a at=64KiB length=64KiB
verify a
heal compute-1 path=1
wait 150
detach a compute-1
detach b compute-2
verify a
delete a
delete b
census
