story "Each kind of disks gets the volumes that ask for it, and a pool that does not say passes for none"
requires SCH-001 CRE-001 CLU-001
option max_over_subscription_ratio 1
# The one that does not say has the most room.
pool flash 64GiB
pool middle 64GiB disks=sas
pool slow 64GiB disks=nl-sas
pool tiered 64GiB disks=mix
pool silent 512GiB disks=untold
type ssd disk_type=ssd
type sas disk_type=sas
type near disk_type=nl_sas
type mix disk_type=mix
type unsaid disk_type=unknown

create a size=1GiB type=ssd pool=flash
create b size=1GiB type=sas pool=middle
create c size=1GiB type=near pool=slow
create d size=1GiB type=mix pool=tiered
create e size=1GiB type=unsaid pool=silent
# No room in the mixed one any more: none of the others is as good.
create f size=300GiB type=mix refused=no-backend
create g size=300GiB pool=silent
delete g
delete e
delete d
delete c
delete b
delete a
census
