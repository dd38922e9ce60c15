story "What another array says that makes no sense ends the connection and changes nothing; then both agree again"
requires DAT-009 DAT-001 CLU-001
remote
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=1MiB
mirror web as=sync
sync web
alike web
# Differences of extents that the volume does not have.
pause web
write web at=256KiB length=64KiB
arm "link.send:Differences" nth=1 do=garbage
sync web ends=interrupted
verify-remote web
sync web
alike web
# An extent that the volume does not have.
pause web
write web at=0 length=1MiB
unmap web at=64KiB length=128KiB
arm "link.send:Extent" nth=3 do=garbage
sync web ends=interrupted
verify-remote web
sync web
alike web
# A change behind the end of the volume: the near half goes on alone.
arm "link.send:Op" nth=1 do=garbage
write web at=512KiB length=64KiB
verify-remote web
sync web
alike web
# Bytes that are no message.
pause web
write web at=768KiB length=4KiB
arm "link.send:Commit" nth=1 do=garbage
sync web ends=interrupted
verify-remote web
sync web
alike web
# An answer to a ping of the future.
arm "link.send:Pong" nth=1 do=garbage
wait 5
write web at=100KiB length=8KiB
sync web
alike web
unmirror web
detach web compute-1
delete web
census
