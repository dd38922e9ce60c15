story "An array of the older line takes short names only, copies what a newer one links, and has its snapshots switched on"
requires CRE-001 ATT-001 CLN-001 CLN-003 SNP-001 SNP-006 DAT-004 CLU-001
array product=V500R007C60
option tengling_max_clone_depth 0
host compute-1
tune compute-1 name-length=60

create a size=1GiB
attach a compute-1
write a at=0 length=1MiB
snapshot s a
write a at=512KiB length=64KiB
create b size=1GiB volume=a
create c size=2GiB snapshot=s
depth b 0
depth c 0
verify b
verify c
flatten b
extend b size=2GiB
verify b
detach a compute-1
delete-snapshot s
delete a
scan b
scan c
delete b
delete c
census
