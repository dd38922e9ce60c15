story "Device events that come late do not mix the volumes of a host up"
requires MPX-007 ATT-006 CLU-006
host compute-1 paths=2
tune compute-1 events=3

create a size=1GiB
create b size=1GiB
attach a compute-1
write a at=0 length=64KiB
wait 5
detach a compute-1
attach b compute-1
write b at=0 length=64KiB
detach b compute-1
attach a compute-1
write a at=4KiB length=4KiB
verify a
detach a compute-1
delete a
delete b
census
