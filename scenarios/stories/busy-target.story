story "BUSY and TASK SET FULL are waited out, at every kind of command"
requires SCS-019 DAT-001
host compute-1
host compute-2 paths=2
# While a host looks at a new device, and in the middle of its I/O; twice in a row, so that the second try is refused too.
fault "target.command.before:INQUIRY" nth=1 do=scsi-busy
fault "target.command.before:READ CAPACITY" nth=1 do=task-set-full
fault "target.command.before:WRITE" nth=1 do=scsi-busy
fault "target.command.before:WRITE" nth=2 do=scsi-busy
fault "target.command.before:WRITE" nth=4 do=task-set-full
fault "target.command.before:SYNCHRONIZE CACHE" nth=1 do=scsi-busy
fault "target.command.before:UNMAP" nth=1 do=task-set-full

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
write v at=4KiB length=4KiB
flush v
unmap v at=1MiB length=64KiB
verify v
detach v compute-1
attach v compute-2
write v at=0 length=64KiB
verify v
detach v compute-2
delete v
census
