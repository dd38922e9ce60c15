story "After a restart the space of each pool is that of its own volumes"
requires DUR-010 CAP-001 CAP-006 CLU-005
journal on
write-cache on
pool pool0 32GiB
pool pool1 16GiB
host compute-1
type one pool_name=pool0
type other pool_name=pool1

create a size=2GiB type=one pool=pool0
create b size=2GiB type=other pool=pool1
attach a compute-1
attach b compute-1
write a at=0 length=1MiB
write b at=0 length=2MiB
flush a
flush b
power-loss
# Blocks of 512 bytes: what was written is gone from the pool that it was written to.
inspect storagepool NAME=pool0 USERFREECAPACITY=67106816
inspect storagepool NAME=pool1 USERFREECAPACITY=33550336
fill pool1 leave=0
out-of-space write b at=1GiB length=64KiB
write a at=1GiB length=64KiB
verify a
verify b
flush a
drain pool1
power-loss
write b at=1GiB length=64KiB
unmap b at=0 length=1MiB
flush b
power-loss
verify b
detach a compute-1
detach b compute-1
delete a
delete b
power-loss
census
