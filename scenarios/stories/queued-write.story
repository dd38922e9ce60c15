story "A write that waits in the array on a lost path is never applied after newer ones"
requires MPX-002 MPX-001 DAT-002
host compute-1 paths=2
# The array takes its time over the second write, longer than the host believes in the path.
fault "target.command.before:WRITE" nth=2 do=delay ms=40000

create v size=1GiB
attach v compute-1
write v at=0 length=4KiB
@io write v at=0 length=4KiB
@io write v at=0 length=4KiB
@net wait 1
@net cut compute-1 path=1
wait 60
heal compute-1 path=1
wait 150
verify v
detach v compute-1
delete v
census
