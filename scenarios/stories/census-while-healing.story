story "A host that is about to get a missing path back is no untidy host"
requires MPX-001 CLU-006 CLU-001
host compute-1 paths=2

create v size=1GiB
cut compute-1 path=2
attach v compute-1
write v at=0 length=64KiB
# The login that fetches the path takes its time: until it has ended, its node record has no session.
arm initiator.login nth=1 do=delay ms=8000
heal compute-1 path=2
wait 3
census
wait 3
census
wait 3
census
wait 3
census
wait 3
census
wait 150
cut compute-1 path=1
write v at=64KiB length=64KiB
verify v
heal compute-1 path=1
wait 150
detach v compute-1
delete v
census
