story "An image arrives byte for byte, and a new volume shows nothing of old ones"
requires IMG-001 CRE-006 DAT-003
host compute-1
image small kind=sample size=1MiB
image plain kind=raw size=3MiB
image disc kind=iso size=1MiB
# Large enough to have compressed clusters.
image packed kind=sample size=8MiB

create a size=1GiB image=small
verify a
create b size=1GiB image=plain
verify b
attach a compute-1
write a at=0 length=4KiB
write a at=1MiB length=4KiB
detach a compute-1
verify a
delete a
delete b
create c size=1GiB
verify c
delete c
create d size=1GiB image=packed
verify d
create e size=1GiB image=disc
verify e
delete d
delete e
census
