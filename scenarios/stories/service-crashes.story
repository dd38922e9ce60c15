story "A volume service that crashes in the middle of a flow finishes or undoes it once it is back"
requires DUR-006 CON-004 CLU-001 CLU-005
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
detach v compute-1
# The array has grown it, and after the crash nobody says that there is room: it is carried on all the same.
arm "flow.extend_volume.grow.after" do=crash
extend v size=2GiB
arm "rest.after:GET storagepool" nth=2 do=mistype
restart
settle
verify v
arm "flow.build_volume.make.after" do=crash
create w size=1GiB
restart
settle
arm "flow.attach_volume.map.after" do=crash
attach v compute-1
restart
settle
arm "flow.create_snapshot.take.before" do=crash
snapshot s v
settle
arm "flow.delete_volume.remove_export.after" do=crash
delete v
restart
settle
census
