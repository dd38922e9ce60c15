story "A management call that is not answered ends in time, and the operation goes on"
requires API-003 CRE-001
host compute-1
fault "rest.before:GET storagepool" nth=3 do=delay ms=1000000

create v size=1GiB
create w size=1GiB
attach v compute-1
write v at=0 length=64KiB
detach v compute-1
delete v
delete w
census
