story "An operation that a crash stopped, and that fails when it is taken up again, is undone as far as it had come before"
requires CON-004 QTA-001 OBS-005
host compute-1

create a size=1GiB
arm "flow.extend_volume.schedule.before" nth=1 do=crash
extend a size=2GiB
arm "flow.extend_volume.reserve_quota.after" nth=1 do=fail
restart
settle
extend a size=3GiB
attach a compute-1
write a at=2GiB length=64KiB
verify a
detach a compute-1
delete a
census
