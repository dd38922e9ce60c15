story "What an operation gives back when it fails is not what another one has reserved meanwhile"
requires QTA-001 SNP-001 EXT-001
host compute-1

create a size=1GiB
create b size=1GiB
# The snapshot has its row, and fails while the extend beside it has reserved and not yet taken its part.
arm "flow.create_snapshot.take.before" nth=1 do=delay ms=2000
arm "flow.create_snapshot.take.after" nth=1 do=fail
arm "flow.extend_volume.grow.before" nth=1 do=delay ms=3000
@x snapshot s b
@y wait 1
@y extend a size=2GiB
settle
snapshot t a
create c size=2GiB snapshot=t
verify c
delete-snapshot t
delete c
delete a
delete b
census
