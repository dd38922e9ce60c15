story "Requests that never arrive are made again: what an unanswered deletion left is looked at, not believed gone"
requires CRE-001 CRE-007 SNP-001 ATT-001 CLU-001 CLU-005
option tengling_max_clone_depth 0
host compute-1
fault "rest.before:POST lun" nth=1 do=drop-reply
fault "rest.before:POST host" nth=1 do=drop-reply
fault "rest.before:POST iscsi_initiator" nth=1 do=drop-reply
fault "rest.before:POST hostgroup" nth=1 do=drop-reply
fault "rest.before:POST lungroup" nth=1 do=drop-reply
fault "rest.before:POST mappingview" nth=1 do=drop-reply
fault "rest.before:POST snapshot" nth=1 do=drop-reply
fault "rest.before:PUT lun/expand" nth=1 do=drop-reply
fault "rest.before:DELETE lun" nth=1 do=drop-reply
fault "rest.before:DELETE snapshot" nth=1 do=drop-reply
fault "rest.before:DELETE iscsi_initiator" nth=1 do=drop-reply
fault "rest.before:DELETE host" nth=1 do=drop-reply
fault "rest.before:DELETE hostgroup" nth=1 do=drop-reply
fault "rest.before:DELETE lungroup" nth=1 do=drop-reply
fault "rest.before:DELETE mappingview" nth=1 do=drop-reply
fault "rest.before:DELETE lungroup/associate" nth=1 do=drop-reply

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
snapshot s a
create b size=1GiB snapshot=s
verify b
extend a size=2GiB
verify a
detach a compute-1
delete b
delete-snapshot s
delete a
census
