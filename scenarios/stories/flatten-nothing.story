story "Flatten of a clone that shares nothing with its parent succeeds and ends the link"
requires FLT-003 FLT-005 CLN-005
host compute-1

create a size=1GiB
create b size=2GiB volume=a
flatten b
depth b 0
flatten b
attach b compute-1
write b at=1GiB length=64KiB
detach b compute-1
delete a
verify b
delete b
census
