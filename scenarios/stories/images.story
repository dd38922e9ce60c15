story "An image arrives byte for byte, whole volumes included"
requires IMG-001 CRE-006 DAT-003
host compute-1
image small kind=sample size=1MiB
image plain kind=raw size=3MiB

create a size=1GiB image=small
scan a
create b size=1GiB image=plain
scan b
attach a compute-1
write a at=0 length=4KiB
write a at=1MiB length=4KiB
detach a compute-1
verify a
delete a
delete b
create c size=1GiB
scan c
delete c
census
