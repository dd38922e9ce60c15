story "An image that must be written over several paths is, and is refused where there is one only"
requires IMG-001 CRE-009 CLU-001
option enforce_multipath_for_image_xfer True
image small kind=sample size=1MiB

create v size=1GiB image=small
verify v
# One portal is no several paths.
disable-portal 2
create w size=1GiB image=small refused=io
enable-portal 2
wait 150
create w size=1GiB image=small
verify w
delete v
delete w
census
