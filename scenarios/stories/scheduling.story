story "The scheduler places each volume where its type, its size and its source allow"
requires SCH-001 SCH-005 SCH-007 CAP-001 CAP-004 CAP-008 QTA-004
option max_over_subscription_ratio 2
pool pool0 4GiB
pool pool1 16GiB
host compute-1
type pinned pool_name=pool0
type nowhere colour=green

create a size=2GiB pool=pool1
create b size=2GiB type=pinned pool=pool0
create c size=2GiB type=nowhere refused=no-backend
create d size=7GiB type=pinned refused=no-backend
create e size=40GiB refused=no-backend
create f size=6GiB type=pinned pool=pool0
create g size=2GiB volume=b pool=pool0 refused=no-backend
delete f
create g size=2GiB volume=b pool=pool0
snapshot s b
create h size=2GiB snapshot=s pool=pool0
delete a
delete g
delete h
delete-snapshot s
delete b
census
