story "A full pool refuses what needs space, loses nothing, and goes on when there is space again"
requires CAP-005 CAP-006 SCS-007 DAT-004
pool pool0 16GiB
host compute-1

create a size=2GiB
attach a compute-1
write a at=0 length=256KiB
snapshot s a
fill pool0 leave=0
out-of-space write a at=1GiB length=64KiB
verify a
out-of-space unmap a at=4KiB length=4KiB
verify a
drain pool0
write a at=1GiB length=64KiB
unmap a at=4KiB length=4KiB
verify a
detach a compute-1
delete-snapshot s
delete a
census
