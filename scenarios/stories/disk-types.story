story "A type that asks for a kind of disk gets a pool of such disks, and none where there is none"
requires SCH-001 CRE-001 CLU-001
type flash disk_type=ssd
type slow disk_type=sas

create a size=1GiB type=flash
create b size=1GiB type=slow refused=no-backend
delete a
census
