story "The part of a pool that is kept back is given to nobody, neither by a creation nor by an extend"
requires SCH-001 CAP-001 CAP-004 EXT-002
option reserved_percentage 50
option max_over_subscription_ratio 1
pool pool0 8GiB

create a size=3GiB
create b size=2GiB refused=no-backend
extend a size=5GiB refused=no-backend
create c size=1GiB
restart reserved_percentage=0
create b size=2GiB
extend a size=5GiB
delete a
delete b
delete c
census
