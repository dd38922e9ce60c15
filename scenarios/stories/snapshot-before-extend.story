story "A volume does not grow while a snapshot of it is being taken, and grows afterwards"
requires CON-001 SNP-001 EXT-001
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
# The row of the snapshot is there and its work is not done yet: it counts by the size that the volume has now.
arm "flow.create_snapshot.take.before" nth=1 do=delay ms=3000
@x snapshot s v
@y wait 1
@y extend v size=2GiB refused=state
settle
extend v size=2GiB
create w size=1GiB snapshot=s
verify w
detach v compute-1
delete w
delete-snapshot s
delete v
census
