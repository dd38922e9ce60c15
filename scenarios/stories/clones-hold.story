story "What linked clones hang on says so and cannot be deleted by anybody, until they are flattened or gone"
requires CLN-006 FLT-001 CLU-001
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
snapshot monday web
create copy size=1GiB snapshot=monday
# The one hangs on a snapshot, the other on a volume itself.
create base size=1GiB
create twin size=1GiB volume=base
# The driver looks before it deletes; the array must refuse it to everybody.
manage "DELETE snapshot/{monday}" code=1077936870
manage "PUT snapshot/stop" ID={monday} code=1077936870
manage "DELETE lun/{base}" code=1077936870
flatten copy
flatten twin
delete-snapshot monday
inspect snapshot NAME={snapshot:monday} count=0
verify copy
verify web
detach web compute-1
delete copy
delete base
delete twin
delete web
census
