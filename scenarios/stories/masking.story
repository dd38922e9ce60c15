story "An initiator reaches what is mapped to it and nothing else"
requires ATT-001 ATT-004 CLU-001
host compute-1
host compute-2

create a size=1GiB
create b size=1GiB
create c size=1GiB
attach a compute-1
attach b compute-1
attach c compute-2
write a at=0 length=4KiB
write c at=0 length=4KiB
intrude a compute-2
intrude b compute-2
intrude c compute-1
detach b compute-1
write a at=4KiB length=4KiB
intrude b compute-1
detach a compute-1
detach c compute-2
delete a
delete b
delete c
census
