story "What a tenant may not have is refused before the array does anything, also while others reserve it"
requires QTA-001 QTA-002 QTA-003 QTA-004
option quota_volumes 4
option quota_gigabytes 6
option quota_snapshots 1
option per_volume_size_limit 4
host compute-1

create a size=1GiB
create b size=1GiB
create c size=5GiB refused=invalid
extend a size=5GiB refused=invalid
# Up to the limit, and not above it.
extend a size=4GiB
snapshot s b
snapshot t b refused=quota
create c size=1GiB refused=quota
extend b size=2GiB refused=quota
# Nothing of it has come to the array.
inspect lun count=2
inspect snapshot count=1
delete-snapshot s
# What one has reserved and does not use yet another cannot have.
arm "flow.build_volume.make.before" nth=1 do=delay ms=3000
@x create c size=1GiB
@y wait 1
@y create d size=1GiB refused=quota
@y snapshot u b refused=quota
@y extend b size=2GiB refused=quota
settle
verify c
delete c
arm "flow.extend_volume.grow.before" nth=1 do=delay ms=3000
@x extend b size=2GiB
@y wait 1
@y create f size=1GiB refused=quota
settle
# The number of snapshots, while there is room for what they count in GiB.
restart quota_gigabytes=12
arm "flow.create_snapshot.take.before" nth=1 do=delay ms=3000
@x snapshot v b
@y wait 1
@y snapshot w b refused=quota
settle
delete-snapshot v
# A number of volumes, whatever their sizes are.
restart quota_volumes=2
create e size=1GiB refused=quota
delete b
create e size=1GiB
restart quota_volumes=-1
delete e
delete a
census
