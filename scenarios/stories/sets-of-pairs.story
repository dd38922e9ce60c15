story "Sets of mirrored volumes: who joins, who leaves, and what breaks off, on both arrays"
requires MPX-013 DAT-009 CLU-001
remote
host compute-1

inspect system ID=21003400a30d844d
inspect system array=far ID=21003400a30d844e
create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-1
write a at=0 length=1MiB
write b at=0 length=1MiB
mirror a as=sync
mirror b as=sync
inspect replicationpair LOCALRESID={a} SPEED=4 as=pair-a
inspect replicationpair LOCALRESID={b} as=pair-b
inspect remote_device as=remote SN=21003400a30d844e
manage "PUT replicationpair/{pair-a}" SPEED=1
manage "PUT replicationpair/{pair-b}" SPEED=1
inspect replicationpair/{pair-a} SPEED=1 ISINCG=false
# What is written while the first copy goes on is on the other half as well, also when the link goes afterwards.
arm "link.send:Extent" nth=2 do=delay ms=5000
manage "PUT replicationpair/sync" ID={pair-a}
inspect replicationpair/{pair-a} RUNNINGSTATUS=21
write a at=512MiB length=64KiB
cut-link
wait 30
inspect replicationpair/{pair-a} RUNNINGSTATUS=34
heal-link
sync a
alike a
pause a
sync b
# A set takes a pair that rests, whatever other pairs do.
manage "POST consistentgroup" NAME=set REPLICATIONMODEL=1 REMOTEDEVICEID={remote} SPEED=1 RECOVERYPOLICY=2 as=set
manage "POST consistentgroup" NAME=spare REPLICATIONMODEL=1 REMOTEDEVICEID={remote} as=spare
manage "PUT add_mirror" ID={set} RMLIST="[\"{pair-a}\"]"
inspect replicationpair/{pair-a} CGNAME=set
pause b
manage "PUT add_mirror" ID={set} RMLIST="[\"{pair-b}\"]"
manage "PUT add_mirror" ID={spare} RMLIST="[\"{pair-b}\"]" code=1077936883
wait 10
inspect consistentgroup array=far count=2
manage "DELETE consistentgroup/{spare}"
wait 10
inspect consistentgroup array=far count=1 NAME=set
# One half of a pair goes while the set is being copied: the copy of the other breaks off.
write a at=0 length=1MiB
write b at=0 length=1MiB
arm "link.send:Extent" nth=2 do=delay ms=5000
manage "PUT synchronize_consistency_group" ID={set}
inspect replicationpair/{pair-b} RUNNINGSTATUS=23
manage "DELETE replicationpair/{pair-a}" ISLOCALDELETE=true
inspect replicationpair/{pair-b} RUNNINGSTATUS=34
unmirror a
manage "PUT del_mirror" ID={set} RMLIST="[\"{pair-b}\"]"
manage "DELETE consistentgroup/{set}"
unmirror b
detach a compute-1
detach b compute-1
delete a
delete b
census
