story "What a failed attach has mapped is out of the host's reach at once, not only when the whole workflow is undone"
requires ATT-001 CLU-001
host compute-1
# The attach of a fails when its LUN is in the host's group already: the array is busy for longer than the driver is patient.
fault "rest.before:GET lun/associate" nth=4 do=fail
fault "rest.before:GET lun/associate" nth=5 do=fail
fault "rest.before:GET lun/associate" nth=6 do=fail
fault "rest.before:GET lun/associate" nth=7 do=fail
fault "rest.before:GET lun/associate" nth=8 do=fail
fault "rest.before:GET lun/associate" nth=9 do=fail
# The workflow's own undo then waits for its first answer.
fault "rest.before:GET host" nth=9 do=delay ms=25000

create a size=1GiB
create b size=1GiB
create c size=1GiB
attach b compute-1
write b at=0 length=64KiB
@a attach a compute-1 refused=busy
@b wait 30
# Whatever the host reaches beside b is too much.
@b intrude c compute-1
write b at=64KiB length=64KiB
verify a
detach b compute-1
delete a
delete b
delete c
census
