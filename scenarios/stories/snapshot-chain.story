story "Links made from snapshots count, and the limit holds for them too"
requires CLN-002 CLN-003 CLN-006 SNP-001 SNP-002 DAT-004
option tengling_max_clone_depth 1
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=128KiB
snapshot s1 a
create b size=1GiB snapshot=s1
depth b 1
write a at=0 length=64KiB
create again size=1GiB snapshot=s1
depth again 1
delete again
snapshot s2 b
create c size=2GiB snapshot=s2
depth c 0
attach b compute-1
write b at=64KiB length=64KiB
verify c
detach a compute-1
detach b compute-1
delete-snapshot s2
delete-snapshot s1
verify b
delete a
verify b
delete b
verify c
delete c
census
