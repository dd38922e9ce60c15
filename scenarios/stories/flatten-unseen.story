story "A job that cannot be looked at for a while is not a job that failed"
requires API-013 FLT-001 FLT-003
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=1MiB
create b size=1GiB volume=a
flatten b
depth b 0
verify b
detach a compute-1
delete a
delete b
census
