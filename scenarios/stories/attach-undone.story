story "An attach that fails half-way is undone, breaks nothing that worked, and can be tried again"
requires ATT-004 ATT-012 CLU-001
host compute-1
# The array is busy for longer than the driver is patient, once before the first mapping of the host and once beside one.
fault "rest.before:PUT mappingview/create_associate" nth=1 do=fail
fault "rest.before:PUT mappingview/create_associate" nth=2 do=fail
fault "rest.before:PUT mappingview/create_associate" nth=3 do=fail
fault "rest.before:PUT mappingview/create_associate" nth=4 do=fail
fault "rest.before:PUT mappingview/create_associate" nth=5 do=fail
fault "rest.before:PUT mappingview/create_associate" nth=6 do=fail

create a size=1GiB
create b size=1GiB
attach a compute-1 refused=busy
attach a compute-1
write a at=0 length=64KiB
attach b compute-1
write b at=0 length=64KiB
verify a
detach a compute-1
detach b compute-1
delete a
delete b
census
