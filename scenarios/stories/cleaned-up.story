story "An array whose volume service is lost for good is cleaned up: all that the run made goes, and nothing that others have"
requires CLU-002 CRE-001 ATT-001 CLU-001
pool pool0 64GiB
host compute-1
host compute-2

create a size=1GiB
create b size=1GiB volume=a
snapshot s a
create c size=1GiB snapshot=s
attach a compute-1
write a at=0 length=64KiB
attach b compute-2
# Somebody has taken a host of ours into a group of his, and has a host of his own mapped to a LUN of his own.
inspect host as=ours
manage "POST hostgroup" NAME=theirs as=theirs
manage "POST hostgroup/associate" ID={theirs} ASSOCIATEOBJTYPE=21 ASSOCIATEOBJID={ours}
manage "POST lun" NAME=payroll PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=payroll
manage "POST host" NAME=sb-payroll OPERATIONSYSTEM=0 as=payroll-host
manage "POST hostgroup" NAME=payroll as=payroll-hosts
manage "POST hostgroup/associate" ID={payroll-hosts} ASSOCIATEOBJTYPE=21 ASSOCIATEOBJID={payroll-host}
manage "POST lungroup" NAME=payroll APPTYPE=0 GROUPTYPE=0 as=payroll-luns
manage "POST lungroup/associate" ID={payroll-luns} ASSOCIATEOBJTYPE=11 ASSOCIATEOBJID={payroll}
manage "POST mappingview" NAME=payroll as=payroll-view
manage "PUT mappingview/create_associate" ID={payroll-view} ASSOCIATEOBJTYPE=14 ASSOCIATEOBJID={payroll-hosts}
manage "PUT mappingview/create_associate" ID={payroll-view} ASSOCIATEOBJTYPE=256 ASSOCIATEOBJID={payroll-luns}
manage "POST snapshot" NAME=payroll PARENTID={payroll} PARENTTYPE=11 as=payroll-snapshot
# The service dies where a mapping is half made.
arm "flow.attach_volume.map.after" do=crash
attach c compute-1
clean
inspect lun count=1
inspect snapshot/{payroll-snapshot} NAME=payroll
inspect host count=1
inspect hostgroup count=2
inspect hostgroup/{theirs} NAME=theirs
inspect "lun/associate?ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={payroll-host}" ID={payroll}
# Whoever starts anew finds the array as it was.
create d size=1GiB
attach d compute-1
write d at=0 length=64KiB
verify d
detach d compute-1
delete d
census
