story "A mirrored write is acknowledged when both halves have it, however slow the link is, and copies what lies far out"
requires DAT-009 CLU-001
remote
host compute-1

# What lies behind 4 GiB is copied to where it lies.
create web size=6GiB
attach web compute-1
write web at=0 length=128KiB
write web at=4352MiB length=128KiB
write web at=5GiB length=64KiB
mirror web as=sync
sync web
alike web
# On its way there, and on its way back.
arm "link.send:Op" nth=1 do=delay ms=900
write web at=64KiB length=64KiB
alike web
arm "link.send:OpDone" nth=1 do=delay ms=900
write web at=5GiB length=16KiB
alike web
arm "link.send:Op" nth=1 do=delay ms=900
unmap web at=4352MiB length=64KiB
alike web
create pair size=5GiB
attach pair compute-1
write pair at=4500MiB length=64KiB
mirror pair as=metro
sync pair
alike pair
arm "link.send:Op" nth=1 do=delay ms=900
write-remote pair at=4500MiB length=16KiB
alike pair
arm "link.send:Op" nth=1 do=delay ms=900
write pair at=0 length=16KiB
alike pair
unmirror pair
unmirror web
detach pair compute-1
detach web compute-1
delete pair
delete web
census
