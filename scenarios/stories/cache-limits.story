story "The image cache keeps as many images as its limits allow"
requires IMG-001 CLN-001 CLN-002 QTA-005
option image_volume_cache_enabled True
option image_volume_cache_max_count 2
option image_volume_cache_max_size_gb 2
image one kind=sample size=1MiB
image two kind=raw size=2MiB

create a1 size=1GiB image=one
create b1 size=2GiB image=two
# Both limits are reached and neither is passed, so both images are still there. What is cached is a clone of the volume
# that was written first, and each further volume is a clone of what is cached.
create a2 size=1GiB image=one
create b2 size=1GiB image=two
depth a1 0
depth b1 0
depth a2 2
depth b2 2
verify a2
verify b2
delete a1
delete b1
delete a2
delete b2
census
