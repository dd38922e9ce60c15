story "A type that has a least and a greatest size allows both of them and nothing beside them"
requires CRE-004 EXT-001
type middle provisioning:min_vol_size=2 provisioning:max_vol_size=3

create v size=1GiB type=middle refused=invalid
create v size=4GiB type=middle refused=invalid
create v size=2GiB type=middle
extend v size=4GiB refused=invalid
extend v size=3GiB
delete v
census
