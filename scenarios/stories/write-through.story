story "Without a volatile cache no acknowledged write needs a flush to survive"
requires DUR-004 DUR-005 API-002 CLU-001
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=256KiB
power-loss
write v at=64KiB length=64KiB
unmap v at=200KiB length=8KiB
power-loss
snapshot s v
create c size=1GiB volume=v
power-loss
verify c
detach v compute-1
delete c
delete-snapshot s
delete v
census
