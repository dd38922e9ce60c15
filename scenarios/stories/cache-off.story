story "A service that starts without its image cache writes each image anew, and with it clones what is still cached"
requires IMG-001 CLN-001 CLU-005
option image_volume_cache_enabled True
option image_volume_cache_max_count 1
image one kind=sample size=1MiB
image two kind=raw size=1MiB

create a1 size=1GiB image=one
create a2 size=1GiB image=one
depth a2 2
restart image_volume_cache_enabled=False
create a3 size=1GiB image=one
depth a3 0
restart image_volume_cache_enabled=True
create a4 size=1GiB image=one
depth a4 2
# What had to go for the second image is gone, though the service fails before that one is cached.
arm "flow.cache_image.create_row.before" nth=1 do=crash
create b1 size=1GiB image=two
restart
settle
create b2 size=1GiB image=two
verify a1
verify a3
verify a4
verify b2
delete a1
delete a2
delete a3
delete a4
delete b2
census
