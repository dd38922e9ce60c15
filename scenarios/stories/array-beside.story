story "What an administrator arranges on the array is there as he said, and nothing of it is the driver's"
requires DUR-005 CLU-001
host compute-1

inspect system ID=21003400a30d844d PRODUCTVERSION=V600R003C00
create web size=1GiB
# vStores: their names are theirs.
manage "POST vstore" NAME=tenant as=tenant
manage "POST vstore" NAME=other as=other
manage "PUT vstore/{tenant}" NAME=tenant DESCRIPTION=first
manage "PUT vstore/{other}" NAME=tenant code=1077948993
inspect vstore NAME=tenant DESCRIPTION=first count=1
manage "DELETE vstore/{other}"
inspect vstore/count COUNT=2
# Partitions: those that there are from the beginning, and those of two kinds that somebody makes.
inspect cachepartition NAME=part0 count=1
inspect smartcachepartition NAME=cache0 count=1
manage "POST cachepartition" NAME=fast as=fast
manage "POST cachepartition" NAME=faster as=faster
manage "POST smartcachepartition" NAME=fast as=smart
manage "POST cachepartition" NAME=fast code=1077948993
inspect cachepartition count=3
inspect cachepartition/{fast} NAME=fast
inspect cachepartition/{faster} NAME=faster
inspect smartcachepartition/{smart} NAME=fast
manage "DELETE cachepartition/{faster}"
manage "DELETE smartcachepartition/{smart}"
inspect cachepartition/{fast} NAME=fast
# An initiator that proves itself, and that the array proves itself to.
manage "POST iscsi_initiator" ID=iqn.2001-04.org.example:other USECHAP=true CHAPNAME=other CHAPPASSWORD=Secret-12-chars! TARGETCHAPNAME=array TARGETCHAPPASSWORD=Secret-34-chars! as=initiator
inspect iscsi_initiator/{initiator} USECHAP=true CHAPNAME=other TARGETCHAPNAME=array ISFREE=true
power-loss
inspect iscsi_initiator/{initiator} USECHAP=true CHAPNAME=other TARGETCHAPNAME=array ISFREE=true
inspect cachepartition/{fast} NAME=fast
inspect vstore/{tenant} NAME=tenant DESCRIPTION=first
attach web compute-1
write web at=0 length=64KiB
detach web compute-1
delete web
manage "DELETE iscsi_initiator/{initiator}"
manage "DELETE cachepartition/{fast}"
manage "DELETE vstore/{tenant}"
census
