story "Thin volumes count with their size, not with what was written to them"
requires CAP-001 CAP-008 QTA-001 QTA-003
host compute-1

create a size=10GiB
attach a compute-1
write a at=0 length=64KiB
census
create b size=20GiB volume=a
census
extend b size=30GiB
census
snapshot s a
flatten b
census
detach a compute-1
delete-snapshot s
delete b
census
delete a
census
