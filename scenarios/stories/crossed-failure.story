story "What a half said while it followed is not believed any more once the roles are exchanged"
requires DAT-009 DAT-001 CLU-001
pool pool0 4GiB
remote
host compute-1

create web size=1GiB
attach web compute-1
write web at=0 length=256KiB
mirror web as=sync
sync web
alike web
inspect replicationpair LOCALRESID={web} as=pair
pause web
write web at=512MiB length=256KiB
# The far half has no room for it and says so; that is late, and crosses an exchange of roles.
manage "POST lun" array=far NAME=filler PARENTID=0 CAPACITY=8388096 ALLOCTYPE=0 as=filler
arm "link.send:Fault" do=delay ms=2000
manage "PUT replicationpair/sync" ID={pair}
wait 1
manage "PUT replicationpair/split" ID={pair}
manage "PUT replicationpair/switch" ID={pair}
inspect replicationpair/{pair} RUNNINGSTATUS=26 ISPRIMARY=false HEALTHSTATUS=1
wait 5
inspect replicationpair/{pair} RUNNINGSTATUS=26 ISPRIMARY=false HEALTHSTATUS=1
inspect replicationpair/{pair} array=far RUNNINGSTATUS=26 ISPRIMARY=true
manage "PUT replicationpair/switch" ID={pair}
wait 1
inspect replicationpair/{pair} ISPRIMARY=true
manage "DELETE lun/{filler}" array=far
sync web
alike web
unmirror web
verify web
detach web compute-1
delete web
census
