# The main job: everything that happens to a volume between its first request and its last trace.
story "The whole life of a volume, from the scheduler to the last trace"
requires CRE-001 CRE-007 IMG-001 ATT-001 ATT-006
requires EXT-001 EXT-005 SNP-001 SNP-002 CLN-001 CLN-002 CLN-005 FLT-001 FLT-003
requires SCH-001 SCH-007 DAT-002 DAT-003 DAT-004 DAT-008 CAP-001 QTA-001 QTA-004 CLU-001 CLU-005
option tengling_max_clone_depth 2
host compute-1
type gold pool_name=pool1
image small kind=sample size=1MiB

create root size=1GiB image=small type=gold pool=pool1
attach root compute-1
write root at=0 length=8KiB
write root at=92KiB length=68KiB
write root at=1048512KiB length=64KiB
flush root
snapshot monday root
write root at=4KiB length=4KiB
extend root size=2GiB
write root at=1GiB length=64KiB
unmap root at=96KiB length=4KiB
create old size=1GiB snapshot=monday
create copy size=3GiB volume=root
depth copy 1
verify copy
detach root compute-1
extend root size=3GiB
attach copy compute-1
write copy at=0 length=64KiB
flatten copy
depth copy 0
detach copy compute-1
delete old
delete-snapshot monday
delete root
verify copy
delete copy
census
