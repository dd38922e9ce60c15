story "A host with several sessions to each portal leaves nothing of any of them behind"
requires MPX-003 ATT-004 CLU-006
host compute-1 paths=2
tune compute-1 interfaces=2

create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-1
write a at=0 length=64KiB
detach a compute-1
extend b size=2GiB
write b at=0 length=64KiB
detach b compute-1
delete a
delete b
census
