story "A snapshot is frozen, whatever happens to its volume"
requires SNP-001 SNP-002 SNP-006 CRE-008 DAT-002 DAT-004
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
write v at=128KiB length=64KiB
snapshot s1 v
write v at=0 length=4KiB
unmap v at=128KiB length=64KiB
snapshot s2 v
write v at=132KiB length=4KiB
extend v size=2GiB
detach v compute-1
delete v refused=busy
create from1 size=1GiB snapshot=s1
create from2 size=2GiB snapshot=s2
verify from1
verify from2
delete-snapshot s1
delete-snapshot s2
verify from1
verify from2
delete v
delete from1
delete from2
census
