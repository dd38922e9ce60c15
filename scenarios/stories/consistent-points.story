story "A synchronisation that breaks off leaves the point before it, whole, and the far half can take over with it"
requires DUR-002 DAT-009 CLU-001
remote
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=1MiB
mirror web as=async
sync web
verify-remote web
write web at=0 length=512KiB
write web at=256KiB length=512KiB
unmap web at=896KiB length=128KiB
verify-remote web
# Seven extents arrive, and then nothing.
arm "link.send:Extent" nth=7 do=drop-reply
sync web ends=interrupted
verify-remote web
cut-link
fail-over web
verify-remote web
write-remote web at=512KiB length=64KiB
verify-remote web
heal-link
sync web
verify web
pause web
fail-over web
sync web
write web at=128KiB length=64KiB
sync web
verify-remote web
unmirror web
detach web compute-1
delete web
census
