story "A back end that is given a pool which the array does not have does not serve"
requires SCH-001 CRE-001 CLU-001
pool pool0 64GiB

create v size=1GiB
restart tengling_storagepool="pool0;pool9"
create w size=1GiB refused=no-backend
restart tengling_storagepool="pool0"
create w size=1GiB
delete v
delete w
census
