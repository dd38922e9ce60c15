story "The image cache: the first volume is made at minimal size and extended, the second is cloned"
requires IMG-001 CLN-001 EXT-001 QTA-001 QTA-005 DAT-003
option image_volume_cache_enabled True
option image_volume_cache_max_count 4
host compute-1
image small kind=sample size=1MiB

create first size=3GiB image=small
verify first
create second size=2GiB image=small
verify second
attach second compute-1
write second at=0 length=64KiB
write second at=2097088KiB length=64KiB
create third size=1GiB image=small
verify third
detach second compute-1
delete first
delete second
delete third
census
