story "A flush that is refused once is sent again before a detach, and one that is refused every time keeps the volume"
requires ATT-007 DAT-001 CLU-005
host compute-1
host compute-2 paths=2
fault "target.command.before:SYNCHRONIZE CACHE" nth=1 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=3 do=reservation-conflict
# More often than anybody is patient; what is left of them is taken away.
fault "target.command.before:SYNCHRONIZE CACHE" nth=5 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=6 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=7 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=8 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=9 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=10 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=11 do=not-ready
fault "target.command.before:SYNCHRONIZE CACHE" nth=12 do=not-ready

create v size=1GiB
create w size=1GiB
attach v compute-1
attach w compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
detach v compute-1
detach w compute-2
attach v compute-2
write v at=32KiB length=64KiB
detach v compute-2 refused=io
disarm
verify v
detach v compute-2
verify v
verify w
delete v
delete w
census
