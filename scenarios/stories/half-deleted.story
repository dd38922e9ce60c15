story "A snapshot whose removal ends half-way is not shown as available"
requires SNP-001 SNP-011 OBS-005
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
snapshot s a
# Its content has ended when the array refuses to delete it.
arm "rest.before:DELETE snapshot" nth=0 do=fail
delete-snapshot s
disarm
settle
snapshot t a
create b size=1GiB snapshot=t
verify b
detach a compute-1
delete-snapshot t
delete b
delete a
census
