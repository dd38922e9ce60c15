story "Answers that are cut, mistyped, endless or not answers at all: typed errors, nothing lost"
requires API-004 API-005 API-007 CRE-002 CLU-001 CLU-005
host compute-1
fault "rest.after:POST lun" nth=1 do=truncate
fault "rest.after:POST lun" nth=2 do=garbage
fault "rest.after:POST snapshot" nth=1 do=mistype
fault "rest.before:GET storagepool" nth=2 do=garbage
fault "rest.after:GET lun" nth=2 do=truncate
fault "rest.after:GET lun/associate" nth=1 do=truncate
fault "rest.before:GET mappingview" nth=1 do=oversize
fault "rest.after:PUT lun/expand" nth=1 do=truncate
fault "rest.after:POST host" nth=1 do=truncate
fault "rest.after:POST lungroup" nth=1 do=garbage
fault "rest.after:DELETE lun" nth=1 do=garbage
fault "rest.after:DELETE snapshot" nth=1 do=truncate
fault "rest.after:GET lun" nth=5 do=close
fault "rest.after:POST lungroup/associate" nth=1 do=close

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
