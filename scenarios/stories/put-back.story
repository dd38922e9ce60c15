story "A snapshot to which a volume is being put back stays until that is done"
requires SNP-005 CLU-001
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
snapshot monday web
# The copying stands still for a minute; hosts see the snapshot's content at once, which here is what they had.
arm "job.rollback.0" do=delay ms=60000
manage "PUT snapshot/rollback" ID={monday} ROLLBACKSPEED=1
inspect snapshot/{monday} RUNNINGSTATUS=44
manage "DELETE snapshot/{monday}" code=1077936874
manage "PUT snapshot/rollback" ID={monday} code=1077936874
verify web
write web at=64KiB length=64KiB
wait 61
inspect snapshot/{monday} RUNNINGSTATUS=43
verify web
detach web compute-1
delete-snapshot monday
delete web
census
