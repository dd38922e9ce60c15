story "A volume that the array puts back to a snapshot holds what it held then, however large it has grown, or, where that has no room, what it had"
requires SNP-008 SNP-002 SNP-006 DAT-004 DUR-005 API-002 CLU-001
journal on
write-cache on
pool pool0 16GiB
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
write web at=512MiB length=64KiB
snapshot monday web
write web at=64KiB length=128KiB
write web at=256MiB length=64KiB
unmap web at=512MiB length=32KiB
put-back monday
verify web
# What is written afterwards stays, and so does what it was put back to.
write web at=128KiB length=64KiB
flush web
power-loss
verify web
# The volume keeps the size that it has grown to, and what has come since reads zero.
extend web size=3GiB
write web at=1023MiB length=2MiB
write web at=3071MiB length=1MiB
snapshot tuesday web
write web at=2GiB length=64KiB
put-back monday
verify web
write web at=2GiB length=64KiB
write web at=0 length=64KiB
verify web
# There is no room for what the snapshot holds: the volume holds what it held.
fill pool0 leave=0
put-back monday refused=no-space
verify web
put-back tuesday refused=no-space
verify web
drain pool0
put-back tuesday
verify web
# Snapshots are what they were.
create first size=1GiB snapshot=monday
create second size=3GiB snapshot=tuesday
verify first
verify second
delete first
delete second
detach web compute-1
put-back monday
verify web
delete-snapshot monday
delete-snapshot tuesday
delete web
census
