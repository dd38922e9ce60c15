story "What never works is tried a few times, with ever longer pauses, and then given up; what was wrong is not tried again"
requires API-006 CRE-001 CRE-007 EXT-001 SNP-001 ATT-001 CLU-001 CLU-005
pool pool0 64GiB
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
detach v compute-1
# A gateway that has lost the array behind it: whether the call was carried out is looked at each time.
arm "rest.before:POST lun" nth=0 do=http status=503 most=5
create a size=1GiB
settle
arm "rest.before:POST snapshot" nth=0 do=http status=500 most=5
snapshot s v
settle
arm "rest.before:POST hostgroup/associate" nth=0 do=http status=502 most=6
attach v compute-1
settle
create b size=1GiB
arm "rest.before:PUT lun/expand" nth=0 do=http status=503 most=6
extend b size=2GiB
settle
create c size=1GiB
arm "rest.before:DELETE lun" nth=0 do=http status=503 most=5
delete c
settle
snapshot t v
arm "rest.before:DELETE snapshot" nth=0 do=http status=504 most=5
delete-snapshot t
settle
# An array that is busy, for as long as anybody asks.
arm "rest.before:POST lun" nth=0 do=code code=1077949006 most=6
create d size=1GiB
settle
arm "rest.before:POST lun" nth=0 do=http status=429 most=6
create e size=1GiB
settle
# What the array does not understand it will not understand later.
arm "rest.before:POST lun" nth=0 do=http status=400 most=1
create f size=1GiB
settle
snapshot u v
extend v size=2GiB
attach v compute-1
verify v
detach v compute-1
create g size=2GiB snapshot=u
verify g
delete g
delete-snapshot u
delete v
census
