story "Whoever writes an image takes its locks in one order, whether the image is cached or replaces a volume's content"
requires CON-004 IMG-001
option image_volume_cache_enabled True
host compute-1
image small kind=sample size=1MiB

create first size=2GiB image=small
create second size=1GiB image=small
create third size=1GiB
attach third compute-1
write third at=0 length=64KiB
detach third compute-1
reimage third image=small
reimage first image=small
verify first
verify second
verify third
settle
delete first
delete second
delete third
census
