story "A restart of the volume service takes nothing of the user's with it"
requires SNP-011 SNP-002 CRE-001 DAT-004 CLU-005
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
snapshot s v
write v at=0 length=4KiB
restart
create w size=1GiB snapshot=s
verify w
detach v compute-1
delete w
delete-snapshot s
delete v
census
