story "A snapshot of a clone stays as it is when the clone writes what it had only inherited"
requires SNP-002 CLN-001 CLN-009 DAT-004
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=192KiB
create c size=1GiB volume=a
snapshot s c
attach c compute-1
write c at=4KiB length=4KiB
write c at=128KiB length=64KiB
create x size=1GiB snapshot=s
verify x
detach c compute-1
detach a compute-1
delete x
delete-snapshot s
delete c
delete a
census
