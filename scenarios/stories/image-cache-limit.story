story "A cached image that cannot be cloned any more is replaced"
requires IMG-001 CLN-001
option image_volume_cache_enabled True
option image_volume_cache_max_count 4
array clones=2
host compute-1
image small kind=sample size=1MiB

create first size=1GiB image=small
create second size=1GiB image=small
create third size=1GiB image=small
create fourth size=1GiB image=small
verify fourth
create fifth size=1GiB image=small
verify first
verify fifth
delete first
delete second
delete third
delete fourth
delete fifth
census
