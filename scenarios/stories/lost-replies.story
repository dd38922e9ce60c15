story "Answers get lost after the work is done: nothing is made twice, nothing is forgotten"
requires API-004 API-005 CRE-002 CRE-007 EXT-007 CLU-001 CLU-005
host compute-1
fault "rest.after:POST lun" nth=1 do=drop-reply
fault "rest.after:POST snapshot" nth=1 do=drop-reply
fault "rest.after:DELETE lun" nth=1 do=drop-reply
fault "rest.after:PUT lun/expand" nth=1 do=drop-reply

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
