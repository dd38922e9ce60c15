story "Clone pairs have no names: which are the run's is told by what they write, when their array is cleaned up"
requires CLU-002 CRE-001 CLU-001
pool pool0 64GiB
option tengling_max_clone_depth 0
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=1MiB
detach a compute-1
manage "POST lun" NAME=from PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=from
manage "POST lun" NAME=to PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=to
manage "POST clonepair/relation" sourceID={from} targetID={to} as=theirs
# The copy stands still, and nobody can look at it or stop it.
arm job.clonepair.50 do=delay ms=1000000
arm "rest.before:GET clonepair" nth=0 do=fail
arm "rest.before:DELETE clonepair" nth=0 do=fail
create b size=1GiB volume=a
disarm
clean
inspect clonepair count=1
inspect clonepair/{theirs} targetID={to}
inspect lun count=2
create d size=1GiB
delete d
census
