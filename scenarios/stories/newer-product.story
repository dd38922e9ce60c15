story "On a newer product a snapshot is active once it is made, and one of somebody else is not taken for ours"
requires CRE-006 SNP-001 CLU-001
array product=V600R005C00
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
manage "POST snapshot" NAME=theirs PARENTID={web} as=theirs
inspect snapshot/{theirs} RUNNINGSTATUS=43
# Of our volume and under the name that ours would get, but not ours.
manage "POST snapshot" NAME={snapshot:monday} PARENTID={web} DESCRIPTION=theirs as=squatter
snapshot monday web refused=exists
inspect snapshot/{squatter} RUNNINGSTATUS=43 DESCRIPTION=theirs
manage "PUT snapshot/stop" ID={squatter}
manage "DELETE snapshot/{squatter}"
snapshot monday web
write web at=128KiB length=64KiB
create copy size=1GiB snapshot=monday
verify copy
manage "PUT snapshot/stop" ID={theirs}
manage "DELETE snapshot/{theirs}"
delete copy
delete-snapshot monday
detach web compute-1
delete web
census
