story "Flatten keeps every byte of a clone that was written, of a source that went on, and of a snapshot between them"
requires FLT-001 FLT-003 SNP-002 CLN-001 DAT-004
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=256KiB
write a at=1MiB length=100KiB
snapshot s a
write a at=0 length=4KiB
create c size=1GiB snapshot=s
attach c compute-1
write c at=72KiB length=4KiB
snapshot t c
write c at=200KiB length=8KiB
flatten c
depth c 0
verify c
create d size=1GiB snapshot=t
verify d
delete d
detach c compute-1
detach a compute-1
delete-snapshot t
delete-snapshot s
delete a
verify c
delete c
census
