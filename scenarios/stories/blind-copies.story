story "A full copy that cannot be looked at for a while is not a copy that failed"
requires CLN-001 CLN-003 CLU-001
option tengling_max_clone_depth 0
host compute-1
# Answers that say nothing about the copy, and are not asked for again.
fault "rest.after:GET clonepair" nth=4 do=http status=404
fault "rest.after:GET clonepair" nth=5 do=http status=404

create a size=1GiB
attach a compute-1
write a at=0 length=4MiB
create b size=1GiB volume=a
depth b 0
verify b
detach a compute-1
delete a
delete b
census
