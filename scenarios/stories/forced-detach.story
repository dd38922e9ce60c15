story "Writes that were under way when their volume was detached by force are not applied after newer ones"
requires ATT-008 MPX-002 DAT-002
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
# Two writes are held up on their way to the array. (One of them meets the news that the host's LUNs have changed.) The host
# gives the path up, and waits until it may send them over the other one: meanwhile the volume is taken from it.
@ops cut compute-1 path=1 way=to-array
@ops wait 14
@ops detach v compute-1 force=yes
@io wait 1
@io write v at=0 length=4KiB
@more wait 1
@more write v at=4KiB length=4KiB
# It gets the volume again, over the path that works, and other blocks can be written at once. What is held up arrives after the
# new write, or has no effect any more.
attach v compute-1
write v at=64KiB length=4KiB
@io write v at=0 length=8KiB
@net wait 2
@net heal compute-1 path=1
wait 150
verify v
detach v compute-1
delete v
census
