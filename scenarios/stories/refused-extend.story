story "A refused extend of a volume in use changes nothing about it"
requires EXT-002 SCH-001 OBS-005 QTA-003 DAT-004
option max_over_subscription_ratio 1
pool pool0 8GiB
host compute-1

create a size=2GiB
attach a compute-1
write a at=0 length=64KiB
extend a size=40GiB refused=no-backend
write a at=4KiB length=4KiB
extend a size=3GiB
verify a
detach a compute-1
delete a
census
