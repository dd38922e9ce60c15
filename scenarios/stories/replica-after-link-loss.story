story "What the link lost on its way is on both arrays after the next synchronisation"
requires DAT-009 DUR-002 CLU-001
remote
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=1MiB
mirror web as=sync
sync web
alike web
# The write that is under way when the link goes is acknowledged by the near half alone.
arm "link.send:Op" nth=1 do=fail
write web at=256KiB length=64KiB
verify-remote web
sync web
alike web
# The far half may have what it could not answer any more.
arm "link.send:OpDone" nth=1 do=fail
write web at=512KiB length=4KiB
sync web
alike web
# A synchronisation that breaks off has copied nothing.
pause web
write web at=0 length=1MiB
unmap web at=64KiB length=128KiB
arm "link.send:Extent" nth=4 do=fail
sync web ends=interrupted
verify-remote web
sync web
alike web
write web at=100KiB length=8KiB
alike web
unmirror web
detach web compute-1
delete web
census
