story "CHAP guards the target, and the mapping guards each volume"
requires ATT-001 ATT-006 CLU-001
option use_chap_auth True
option chap_username bench
option chap_password Secret-12-chars!
host compute-1
host compute-2

create mine size=1GiB
create yours size=1GiB
attach mine compute-1
attach yours compute-2
write mine at=0 length=64KiB
write yours at=0 length=64KiB
intrude mine compute-2
intrude yours compute-1
detach mine compute-1
intrude mine compute-1
detach yours compute-2
delete mine
delete yours
census
