story "A flatten whose background work fails changes nothing, and can be done again"
requires FLT-004 API-014 FLT-001 FLT-003 CLU-001
host compute-1
fault "job.split.50" nth=0 do=fail

create a size=1GiB
attach a compute-1
write a at=0 length=256KiB
write a at=256MiB length=64KiB
write a at=512MiB length=64KiB
write a at=768MiB length=64KiB
create b size=1GiB volume=a
attach b compute-1
write b at=128KiB length=64KiB
write b at=768MiB length=4KiB
flatten b refused=job
depth b 1
verify b
write b at=512MiB length=4KiB
disarm
flatten b
depth b 0
verify b
verify a
detach a compute-1
detach b compute-1
delete a
delete b
census
