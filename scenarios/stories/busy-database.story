story "A state database that somebody else holds for a moment costs nothing but another try"
requires CRE-001 EXT-001 ATT-001 SNP-001 CRE-007 CLU-001 CLU-005
host compute-1
fault "db.transaction" nth=12 do=fail
fault "db.transaction" nth=13 do=fail
fault "db.transaction" nth=40 do=fail
fault "db.transaction" nth=41 do=fail
fault "db.transaction" nth=42 do=fail
fault "db.transaction" nth=70 do=fail
fault "db.transaction" nth=100 do=fail
fault "db.transaction" nth=130 do=fail

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
extend v size=2GiB
snapshot s v
create w size=2GiB snapshot=s
verify w
detach v compute-1
delete w
delete-snapshot s
delete v
census
