story "What is written far behind the beginning of a large volume stays there: snapshots, clones, full copies, flattening, restarts"
requires DAT-001 SNP-001 CLN-001 FLT-001 DUR-001 CLU-005
journal on
write-cache on
pool pool0 200GiB
option tengling_max_clone_depth 1
host compute-1

create a size=21GiB
attach a compute-1
write a at=1GiB length=64KiB
write a at=4GiB length=64KiB
write a at=5GiB length=200KiB
write a at=20GiB length=1MiB
flush a
snapshot s a
create linked size=21GiB snapshot=s
create copied size=22GiB volume=linked
depth linked 1
depth copied 0
unmap a at=5GiB length=100KiB
unmap a at=20GiB length=512KiB
flush a
power-loss
verify a
verify linked
verify copied
flatten linked
verify linked
attach copied compute-1
unmap copied at=4GiB length=16KiB
write copied at=21GiB length=64KiB
flush copied
power-loss
verify copied
detach copied compute-1
detach a compute-1
delete copied
delete linked
delete-snapshot s
delete a
census
