story "An array moves a volume to another place while its host writes: nothing is lost, and nothing of the old place stays"
requires DAT-005 DAT-004 CAP-001 CLU-001
pool pool0 64GiB
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=8MiB
manage "POST lun" NAME=place PARENTID=0 CAPACITY=2097152 ALLOCTYPE=0 as=place
manage "POST lun_migration" PARENTID={web} TARGETLUNID={place} SPEED=1
inspect lun_migration/{web} RUNNINGSTATUS=75 TARGETLUNID={place}
write web at=1MiB length=64KiB
write web at=512MiB length=64KiB
wait 2
inspect lun_migration/{web} RUNNINGSTATUS=76 PROGRESS=100
inspect lun/{web} ALLOCTYPE=0
manage "DELETE lun_migration/{web}"
manage "DELETE lun/{place}"
verify web
write web at=2MiB length=64KiB
# A clone goes on sharing what was counted to the place, when that is left again and gone.
create copy size=1GiB volume=web
manage "POST lun" NAME=back PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=back
manage "POST lun_migration" PARENTID={web} TARGETLUNID={back} SPEED=4
wait 2
inspect lun_migration/{web} RUNNINGSTATUS=76
manage "DELETE lun_migration/{web}"
manage "DELETE lun/{back}"
write web at=768MiB length=64KiB
verify web
verify copy
detach web compute-1
delete copy
delete web
census
