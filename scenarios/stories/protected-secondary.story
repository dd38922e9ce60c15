story "The protected half of a replication pair takes no writes, until its protection is lifted"
requires MPX-013 DAT-009 DUR-002 CLU-001
remote
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
mirror web as=sync
sync web
write-remote web at=0 length=64KiB refused=io
alike web
pause web
write-remote web at=64KiB length=4KiB refused=io
write web at=64KiB length=64KiB
verify-remote web
secondary web access=read-write
write-remote web at=128KiB length=64KiB
verify-remote web
# What was written there is overwritten: the near half leads.
sync web
alike web
write-remote web at=0 length=4KiB refused=io
unmirror web
detach web compute-1
delete web
census
