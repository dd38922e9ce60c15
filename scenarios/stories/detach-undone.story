story "A detach that the array does not carry out is not reported as done, and can be tried again"
requires ATT-003 ATT-004 CLU-001
host compute-1
fault "rest.before:DELETE lungroup/associate" nth=1 do=fail
fault "rest.before:DELETE lungroup/associate" nth=2 do=fail
fault "rest.before:DELETE lungroup/associate" nth=3 do=fail
fault "rest.before:DELETE lungroup/associate" nth=4 do=fail
fault "rest.before:DELETE lungroup/associate" nth=5 do=fail
fault "rest.before:DELETE lungroup/associate" nth=6 do=fail

create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-1
write a at=0 length=64KiB
write b at=0 length=64KiB
detach a compute-1 refused=busy
verify a
verify b
detach a compute-1
detach b compute-1
delete a
delete b
census
