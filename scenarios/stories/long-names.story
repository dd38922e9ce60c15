story "Hosts whose long names begin alike are kept apart"
requires ATT-001 ATT-016
host compute-1
host compute-2
tune compute-1 name-length=60
tune compute-2 name-length=60

create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-2
write a at=0 length=4KiB
write b at=0 length=4KiB
intrude a compute-2
intrude b compute-1
detach a compute-1
write b at=4KiB length=4KiB
detach b compute-2
delete a
delete b
census
