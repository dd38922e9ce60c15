story "A volume that two hosts share has one size and one content on both"
requires EXT-004 EXT-009 ATT-004 ATT-009 MPX-003
type shared multiattach="<is> True"
host compute-1
host compute-2 paths=2
host compute-3

create v size=1GiB type=shared
create w size=1GiB
attach v compute-1
attach v compute-2
attach w compute-3
attach w compute-1 refused=state
write v at=0 length=64KiB
extend v size=2GiB
write v at=1GiB length=64KiB
detach v compute-1
verify v
write v at=4KiB length=4KiB
detach v compute-2
detach w compute-3
delete v
delete w
census
