story "Each snapshot of a series shows what was there when it was taken, and so does what is made from it"
requires SNP-001 SNP-002 SNP-006 CLN-006 DAT-004
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
snapshot s1 v
write v at=1MiB length=64KiB
write v at=4KiB length=4KiB
snapshot s2 v
write v at=2MiB length=64KiB
write v at=1MiB length=8KiB
snapshot s3 v
create from3 size=1GiB snapshot=s3
verify from3
create from2 size=1GiB snapshot=s2
verify from2
create from1 size=1GiB snapshot=s1
verify from1
delete-snapshot s2
verify from2
delete from1
delete from2
delete from3
delete-snapshot s1
delete-snapshot s3
detach v compute-1
delete v
census
