story "In a split one half of a HyperMetro pair goes on and the other one serves nobody"
requires MPX-013 DAT-009 CLU-001
remote
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
mirror web as=metro
sync web
alike web
# While they hear each other, hosts may use either.
write-remote web at=64KiB length=64KiB
write web at=96KiB length=64KiB
alike web
cut-link
write-remote web at=0 length=64KiB refused=io
write web at=32KiB length=64KiB
write-remote web at=64KiB length=64KiB refused=io
heal-link
write-remote web at=128KiB length=4KiB refused=io
sync web
alike web
write-remote web at=160KiB length=4KiB
alike web
# A host that starts again finds both halves.
reboot compute-1 off=30
alike web
write-remote web at=192KiB length=4KiB
alike web
unmirror web
detach web compute-1
delete web
census
