story "What a flush acknowledged survives a power loss; what it did not is old or new, block by block"
requires DUR-001 DUR-002 DUR-005 SCS-018 IMG-011 ATT-007 API-002 CLU-001
write-cache on
host compute-1 paths=2
image small kind=sample size=1MiB

create system size=1GiB image=small
power-loss
create data size=1GiB
attach data compute-1
write data at=0 length=256KiB
flush data
write data at=64KiB length=64KiB
write data at=96KiB length=4KiB
unmap data at=200KiB length=8KiB
power-loss
write data at=128KiB length=128KiB
write data at=512KiB length=64KiB
flush data
power-loss
write data at=0 length=64KiB
write data at=1MiB length=64KiB
detach data compute-1
power-loss
create more size=1GiB image=small
power-loss
attach data compute-1
write data at=256KiB length=256KiB
flush data
power-loss
detach data compute-1
delete system
delete more
delete data
census
