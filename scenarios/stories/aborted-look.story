story "A look that gets no answer takes nothing away from volumes that are attached"
requires ATT-004 MPX-007 DAT-001
host compute-1 paths=2

create a size=1GiB
create b size=1GiB
attach a compute-1
# The array gives a's number to b; the host goes on to look for a.
revoke a compute-1
# One path is found too late: b goes on with the other one, and a's map stays with what it has.
arm "target.command.before:INQUIRY" nth=1 do=drop-reply
attach b compute-1
write b at=0 length=64KiB
arm "target.command.before:INQUIRY" nth=0 do=drop-reply
wait 120
disarm
wait 60
write b at=64KiB length=64KiB
flush b
detach a compute-1
verify b
detach b compute-1
delete b
delete a
census
