story "Messages between the parts of the control plane: one that is lost leaves work that somebody finishes or undoes, one that arrives twice is carried out once"
requires CON-001 CON-004 OBS-005 CRE-001 EXT-001 ATT-001 CLU-001 CLU-005
host compute-1

# Twice: while the work goes on, and when it is done.
arm "flow.build_volume.make.before" do=twice
create v size=1GiB
arm "flow.attach_volume.map.before" do=twice
attach v compute-1
write v at=0 length=64KiB
arm "flow.extend_volume.grow.after" do=twice
extend v size=2GiB
arm "flow.create_snapshot.take.before" do=twice
snapshot s v
arm "flow.detach_volume.unmap.before" do=twice
detach v compute-1
verify v
census
# Lost: before the work, and after it.
arm "flow.build_volume.make.before" do=lose
create w size=1GiB
settle
arm "flow.extend_volume.grow.after" do=lose
extend v size=3GiB
settle
verify v
arm "flow.attach_volume.map.after" do=lose
attach v compute-1
settle
arm "flow.delete_snapshot.delete.before" do=lose
delete-snapshot s
settle
arm "flow.delete_volume.delete_lun.after" do=lose
delete v
settle
census
