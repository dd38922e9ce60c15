story "A probe of a path that nobody waits for any more does not keep its place in the queue of the session"
requires EXT-004 DAT-001 SCS-019
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
# One status of a check of each path is lost: the checks are given up, their commands are still open.
arm target.command.after nth=1 do=drop-reply
arm target.command.after nth=2 do=drop-reply
wait 150
# From here on the session that is told so has one command open at a time.
arm "target.command.before:WRITE" nth=1 do=task-set-full
write v at=64KiB length=4KiB
write v at=128KiB length=4KiB
flush v
extend v size=2GiB
verify v
detach v compute-1
delete v
census
