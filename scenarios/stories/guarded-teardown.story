story "A detach that cannot count what is left removes no mapping of the other volumes of its host"
requires ATT-004 CLU-001
host compute-1
# Whether the host's LUN group is empty stays unknown for longer than the driver is patient: it must count as used.
fault "rest.before:GET lun/count" nth=1 do=fail
fault "rest.before:GET lun/count" nth=2 do=fail
fault "rest.before:GET lun/count" nth=3 do=fail
fault "rest.before:GET lun/count" nth=4 do=fail
fault "rest.before:GET lun/count" nth=5 do=fail
fault "rest.before:GET lun/count" nth=6 do=fail

create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-1
write b at=0 length=64KiB
flush b
detach a compute-1 refused=busy
write b at=64KiB length=64KiB
verify b
detach a compute-1
verify b
detach b compute-1
delete a
delete b
census
