story "An array that takes no further LUN or snapshot says so, and nothing is left of what it refused"
requires CAP-011 SCH-001 CLU-001
array devices=4
option tengling_max_clone_depth 3
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
create b size=1GiB
snapshot s a
# LUNs and snapshots share what the array has room for.
create c size=1GiB
create d size=1GiB refused=no-backend
snapshot t a refused=limit
delete b
snapshot u a
create d size=1GiB refused=no-backend
delete-snapshot u
create e size=1GiB snapshot=s
verify e
verify a
detach a compute-1
delete e
delete-snapshot s
delete a
delete c
census
