story "A reservation of somebody else, and a unit that is offline for a moment: who sent the command is told, and no acknowledged write is lost"
requires DAT-001 DAT-002 CLU-001 CLU-005
host compute-1
host compute-2 paths=2

create v size=1GiB
create w size=1GiB
attach v compute-1
attach w compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
arm "target.command.before:WRITE" do=reservation-conflict
write v at=32KiB length=64KiB
settle
write v at=32KiB length=64KiB
flush v
arm "target.command.before:SYNCHRONIZE CACHE" do=not-ready
flush v
settle
# One path says so, and the other serves; then both do.
arm "target.command.before:WRITE" do=not-ready
write w at=0 length=128KiB
settle
arm "target.command.before:WRITE" nth=1 do=not-ready
arm "target.command.before:WRITE" nth=2 do=not-ready
write w at=64KiB length=128KiB
settle
flush w
verify w
detach v compute-1
detach w compute-2
verify v
verify w
census
