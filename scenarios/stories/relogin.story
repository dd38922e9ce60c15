story "A session that is lost comes back, also when its first new login fails"
requires ISC-015 ISC-024 MPX-006
host compute-1
fault "target.login" nth=2 do=fail
fault "target.login" nth=3 do=fail

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
cut compute-1
wait 40
heal compute-1
write v at=64KiB length=64KiB
verify v
detach v compute-1
delete v
census
