story "An array that comes back from its journal is the one that was acknowledged: volumes, snapshots, clones, mappings, limits, reservations"
requires DUR-001 DUR-002 DUR-005 DUR-010 SCS-013 SCS-018 CLN-001 SNP-001 FLT-001 CRE-012 API-002 CLU-001
journal on
write-cache on
option use_chap_auth True
option chap_username bench
option chap_password Secret-12-chars!
host compute-1 paths=2
host compute-2
image small kind=sample size=1MiB

create base size=1GiB
power-loss
create system size=1GiB image=small
power-loss
attach base compute-1
write base at=0 length=1MiB
write base at=2047KiB length=5KiB
flush base
snapshot monday base
power-loss
write base at=3KiB length=1KiB
unmap base at=60KiB length=8KiB
flush base
create middle size=2GiB volume=base
create young size=1GiB snapshot=monday
power-loss
attach middle compute-2
attach young compute-1
write middle at=62KiB length=70KiB
write young at=511KiB length=3KiB
flush middle
flush young
create leaf size=2GiB volume=middle
power-loss
power-loss
verify base
verify middle
verify young
verify leaf
verify system
# Numbers of what is gone are not given again.
delete leaf
create heir size=1GiB
power-loss
create other size=1GiB
create third size=1GiB
intrude base compute-2
power-loss
delete third
power-loss
create fourth size=1GiB
attach heir compute-1
reserve heir compute-1
write heir at=0 length=64KiB
flush heir
limit base iops=64
power-loss
reserved heir compute-1
write base at=128KiB length=256KiB
unmap base at=256KiB length=64KiB
flush base
power-loss
unlimit base
unreserve heir compute-1
@slow flatten middle
@beside write base at=4MiB length=64KiB
@beside flush base
power-loss
verify middle
delete-snapshot monday
power-loss
flatten young
power-loss
extend base size=3GiB
power-loss
write base at=2GiB length=100KiB
flush base
write base at=1030KiB length=300KiB
unmap base at=2GiB length=6KiB
write young at=0 length=9KiB
power-loss
verify base
verify young
verify middle
detach base compute-1
power-loss
detach young compute-1
detach heir compute-1
detach middle compute-2
power-loss
delete young
delete middle
delete base
delete system
delete heir
delete other
delete fourth
power-loss
census
