story "Unit attentions and resets by somebody else are news, not failures"
requires MPX-011 DAT-001 ATT-001
host compute-1
host compute-2 paths=2
fault "target.command.before:WRITE" nth=2 do=unit-attention
fault "target.command.before:WRITE" nth=5 do=lun-reset
fault "target.command.before:SYNCHRONIZE CACHE" nth=1 do=lun-reset
fault "target.command.before:INQUIRY" nth=2 do=unit-attention

create v size=1GiB
create w size=1GiB
attach v compute-1
write v at=0 length=64KiB
write v at=64KiB length=64KiB
write v at=0 length=4KiB
flush v
verify v
# The other path of a map is told as well, and goes on.
attach w compute-2
write w at=0 length=64KiB
write w at=32KiB length=64KiB
flush w
verify w
detach v compute-1
detach w compute-2
delete v
delete w
census
