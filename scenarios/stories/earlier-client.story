story "What an earlier client of the array has made is found again under the names that all of them give"
requires API-016 ATT-001 ATT-016 CLU-001
host compute-1
host compute-2
tune compute-2 name-length=60

create a size=1GiB
create b size=1GiB
inspect lun NAME={volume:a} count=1
inspect lun NAME={volume:b} count=1
# Host objects that an earlier run left, each with its initiator: one name fits, of the other there is a digest.
manage "POST host" NAME={host:compute-1} as=first ours=yes
manage "POST iscsi_initiator" ID={compute-1} ours=yes
manage "PUT iscsi_initiator" ID={compute-1} PARENTTYPE=21 PARENTID={first} ours=yes
attach a compute-1
manage "POST host" NAME={host:compute-2} as=second ours=yes
manage "POST iscsi_initiator" ID={compute-2} ours=yes
manage "PUT iscsi_initiator" ID={compute-2} PARENTTYPE=21 PARENTID={second} ours=yes
attach b compute-2
inspect host count=2
write a at=0 length=4KiB
write b at=0 length=4KiB
snapshot s a
inspect snapshot NAME={snapshot:s} count=1
intrude a compute-2
intrude b compute-1
detach a compute-1
detach b compute-2
inspect host count=0
delete-snapshot s
delete a
delete b
census
