story "What the image cache has no room for any more is deleted, the least recently used first"
requires IMG-001 CLN-001 CLU-005 QTA-005
option image_volume_cache_enabled True
option image_volume_cache_max_count 2
image one kind=sample size=1MiB
image two kind=raw size=2MiB
image three kind=raw size=1MiB

create a1 size=1GiB image=one
create b1 size=1GiB image=two
create a2 size=1GiB image=one
# The second image was asked for longer ago than the first, so it is the one that goes.
create c1 size=1GiB image=three
create a3 size=1GiB image=one
depth a3 2
create b2 size=1GiB image=two
depth b2 0
verify a1
verify b1
verify c1
verify a3
verify b2
delete a1
delete b1
delete a2
delete c1
delete a3
delete b2
census
