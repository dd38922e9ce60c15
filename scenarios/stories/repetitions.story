story "A call that is made twice does nothing the second time, and says so by success"
requires CRE-002 CRE-007 ATT-002 ATT-003 DAT-004
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
repeat create v
detach v compute-1
repeat detach v host=compute-1
repeat create v
verify v
create w size=1GiB
attach w compute-1
repeat detach v host=compute-1
write w at=0 length=4KiB
detach w compute-1
delete v
repeat delete v
delete w
census
