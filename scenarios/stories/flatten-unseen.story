story "A job that cannot be looked at for a while is not a job that failed"
requires API-013 FLT-001 FLT-003
host compute-1
# The first looks at the running job fail for longer than the driver is patient with one call.
fault "rest.before:GET lun" nth=15 do=fail
fault "rest.before:GET lun" nth=16 do=fail
fault "rest.before:GET lun" nth=17 do=fail
fault "rest.before:GET lun" nth=18 do=fail
fault "rest.before:GET lun" nth=19 do=fail
fault "rest.before:GET lun" nth=20 do=fail

create a size=1GiB
attach a compute-1
write a at=0 length=1MiB
create b size=1GiB volume=a
flatten b
depth b 0
verify b
detach a compute-1
delete a
delete b
census
