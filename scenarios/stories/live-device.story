story "Detaching a volume whose mapping was taken away leaves alone the volume that has its LUN now"
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
