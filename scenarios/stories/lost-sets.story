story "What a link loses of sets of pairs, both arrays agree on again when they hear each other"
requires DAT-009 CLU-001
remote
host compute-1

create a size=1GiB
create b size=1GiB
attach a compute-1
attach b compute-1
write a at=0 length=1MiB
write b at=0 length=1MiB
mirror a as=sync
mirror b as=sync
inspect replicationpair LOCALRESID={a} as=pair-a
inspect replicationpair LOCALRESID={b} as=pair-b
inspect remote_device as=remote SN=21003400a30d844e
# The word of a new set is lost with the connection.
arm "link.send:CreateSet" nth=1 do=fail
manage "POST consistentgroup" NAME=set REPLICATIONMODEL=1 REMOTEDEVICEID={remote} SPEED=4 RECOVERYPOLICY=2 as=set
wait 10
inspect consistentgroup count=1
inspect consistentgroup array=far count=1 NAME=set SPEED=4
# So is that of a pair that joins it.
arm "link.send:Member" nth=1 do=fail
manage "PUT add_mirror" ID={set} RMLIST="[\"{pair-a}\"]"
wait 10
manage "PUT add_mirror" ID={set} RMLIST="[\"{pair-b}\"]"
wait 10
inspect replicationpair array=far count=2 CGNAME=set
# The set is copied as one, and followed as one.
manage "PUT synchronize_consistency_group" ID={set}
wait 60
inspect replicationpair count=2 RUNNINGSTATUS=1
inspect replicationpair array=far count=2 RUNNINGSTATUS=1
# Nobody hears that a pair leaves it.
manage "PUT split_consistency_group" ID={set}
wait 10
arm "link.send:Member" nth=1 do=fail
manage "PUT del_mirror" ID={set} RMLIST="[\"{pair-a}\"]"
wait 10
inspect replicationpair/{pair-a} ISINCG=false
inspect replicationpair/{pair-a} array=far ISINCG=false
inspect replicationpair/{pair-b} array=far CGNAME=set
manage "PUT del_mirror" ID={set} RMLIST="[\"{pair-b}\"]"
wait 10
# What each array has been told of the set itself is its own, however often they lose each other.
manage "PUT consistentgroup/{set}" array=far SPEED=1
cut-link
wait 30
heal-link
wait 10
inspect consistentgroup/{set} SPEED=4
inspect consistentgroup/{set} array=far SPEED=1
# What was deleted while nobody was heard is gone on both.
cut-link
wait 30
manage "DELETE consistentgroup/{set}"
heal-link
wait 10
inspect consistentgroup count=0
inspect consistentgroup array=far count=0
sync a
sync b
alike a
alike b
unmirror a
unmirror b
detach a compute-1
detach b compute-1
delete a
delete b
census
