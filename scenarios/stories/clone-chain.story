story "A clone chain stops at the limit, and every link stays what it was"
requires CLN-001 CLN-002 CLN-003 CLN-004 CLN-006 CLN-010 CLN-011 FLT-001 DAT-002 DAT-004
option tengling_max_clone_depth 2
host compute-1

create c0 size=1GiB
attach c0 compute-1
write c0 at=0 length=100KiB
write c0 at=300KiB length=12KiB
create c1 size=1GiB volume=c0
depth c1 1
write c0 at=4KiB length=4KiB
attach c1 compute-1
write c1 at=8KiB length=4KiB
create c2 size=1GiB volume=c1
depth c2 2
create c3 size=1GiB volume=c2
depth c3 0
attach c2 compute-1
write c2 at=300KiB length=4KiB
verify c3
create c4 size=1GiB volume=c3
depth c4 1
detach c1 compute-1
delete c1
verify c2
depth c2 2
detach c2 compute-1
delete c2
verify c3
detach c0 compute-1
delete c0
delete c3
verify c4
delete c4
census
