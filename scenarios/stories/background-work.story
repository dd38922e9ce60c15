story "Background work tells the truth about itself: how far it is, when it ended, what it belongs to"
requires OBS-005 CLU-001
pool pool0 64GiB
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
write web at=512MiB length=128KiB
snapshot monday web
inspect snapshot/{monday} ROLLBACKENDTIME=-1
# Each piece of work stands still for a minute, so that it can be looked at.
arm "job.rollback.0" do=delay ms=60000
manage "PUT snapshot/rollback" ID={monday} ROLLBACKSPEED=1
inspect snapshot/{monday} RUNNINGSTATUS=44 ROLLBACKENDTIME=-1 ROLLBACKRATE=0
wait 61
inspect snapshot/{monday} RUNNINGSTATUS=43 ROLLBACKRATE=100
inspect snapshot/{monday} ROLLBACKENDTIME=-1 count=0
manage "POST lun" NAME=place PARENTID=0 CAPACITY=2097152 ALLOCTYPE=0 as=place
arm "job.migration.50" do=delay ms=60000
manage "POST lun_migration" PARENTID={web} TARGETLUNID={place} SPEED=1
wait 2
inspect lun_migration/{web} RUNNINGSTATUS=75 PROGRESS=50
wait 61
inspect lun_migration/{web} RUNNINGSTATUS=76 PROGRESS=100
manage "DELETE lun_migration/{web}"
# A copy names both its ends.
manage "POST luncopy" NAME=copy SOURCELUN=INVALID;{web};INVALID;INVALID;INVALID TARGETLUN=INVALID;{place};INVALID;INVALID;INVALID as=copy
inspect luncopy/{copy} SOURCELUN=INVALID;{web};INVALID;INVALID;INVALID TARGETLUN=INVALID;{place};INVALID;INVALID;INVALID
manage "DELETE luncopy/{copy}"
manage "DELETE lun/{place}"
verify web
detach web compute-1
delete-snapshot monday
delete web
census
