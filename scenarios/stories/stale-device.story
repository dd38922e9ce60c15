story "A device that outlived its mapping is never taken for the next volume at its LUN"
requires ATT-006 DAT-002
host compute-1

create a size=1GiB
create b size=1GiB
attach a compute-1
write a at=0 length=64KiB
flush a
revoke a compute-1
attach b compute-1
write b at=0 length=64KiB
verify b
detach a compute-1
verify b
settle
detach b compute-1
delete a
delete b
census
