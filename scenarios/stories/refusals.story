story "What must be refused is refused, and nothing changes"
requires CRE-008 EXT-002 CLN-005 SNP-006 ATT-009 DAT-004
host compute-1
host compute-2

create v size=2GiB
attach v compute-1
write v at=0 length=64KiB
attach v compute-2 refused=state
delete v refused=state
extend v size=1GiB refused=invalid
create w size=1GiB volume=v refused=invalid
snapshot s v
create w size=1GiB snapshot=s refused=invalid
detach v compute-1
delete v refused=busy
verify v
delete-snapshot s
delete v
census
