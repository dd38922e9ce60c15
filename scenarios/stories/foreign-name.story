story "Somebody else's object of the same name is neither adopted nor removed"
requires API-016 CLU-002 CLU-001
host compute-1

squat v
create v size=1GiB refused=exists
create w size=1GiB
attach w compute-1
write w at=0 length=4KiB
detach w compute-1
delete w
census
