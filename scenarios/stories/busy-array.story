story "A busy array and a broken gateway are met with bounded patience"
requires API-003 API-006 CRE-002 EXT-007 CLU-001 CLU-005
host compute-1
# Refused before any work, in each of the ways in which arrays and gateways say "later".
fault "rest.before:POST lun" nth=1 do=http status=503
fault "rest.before:POST lun" nth=2 do=http status=429
fault "rest.before:GET storagepool" nth=2 do=http status=500
fault "rest.before:GET lun" nth=3 do=http status=502
fault "rest.before:POST snapshot" nth=1 do=code code=1077949006
fault "rest.before:PUT lun/expand" nth=1 do=http status=503
fault "rest.before:POST hostgroup" nth=1 do=code code=1077948995
fault "rest.before:DELETE lun" nth=1 do=http status=504
# Done, and then the gateway gave up.
fault "rest.after:POST lun" nth=1 do=http status=504
fault "rest.after:PUT lun/expand" nth=1 do=http status=504
fault "rest.after:DELETE snapshot" nth=1 do=http status=502
fault "rest.after:POST mappingview" nth=1 do=http status=500
# A black hole: no answer for ten minutes.
fault "rest.before:GET host" nth=3 do=delay ms=600000

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
snapshot s a
extend a size=2GiB
create b size=2GiB volume=a
verify b
detach a compute-1
delete b
delete-snapshot s
delete a
census
