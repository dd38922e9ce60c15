story "Copies that nobody watches any more are stopped and removed when their array is cleaned up, those of others go on"
requires CLU-002 CRE-001 CLU-001
pool pool0 64GiB
array product=V500R007C60
option tengling_max_clone_depth 0
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=1MiB
detach a compute-1
manage "POST lun" NAME=from PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=from
manage "POST lun" NAME=to PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=to
manage "POST luncopy" NAME=theirs SOURCELUN=INVALID;{from};INVALID;INVALID;INVALID TARGETLUN=INVALID;{to};INVALID;INVALID;INVALID as=theirs
# The copy stands still, and nobody can look at it or stop it.
arm job.luncopy.50 do=delay ms=1000000
arm "rest.before:GET luncopy" nth=0 do=fail
arm "rest.before:DELETE luncopy" nth=0 do=fail
create b size=1GiB volume=a
disarm
clean
inspect luncopy count=1
inspect luncopy/{theirs} NAME=theirs
inspect lun count=2
create d size=1GiB
delete d
census
