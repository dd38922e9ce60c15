story "Writes below the copy-on-write grain leave their neighbours alone"
requires CLN-001 CLN-009 DAT-008
host compute-1

create a size=1GiB
attach a compute-1
write a at=0 length=128KiB
create b size=1GiB volume=a
attach b compute-1
write b at=1KiB length=512B
write b at=20KiB length=1KiB
write b at=63KiB length=2KiB
snapshot s b
write b at=3KiB length=512B
create c size=1GiB snapshot=s
attach c compute-1
write c at=100KiB length=512B
verify c
verify b
detach a compute-1
detach b compute-1
detach c compute-1
delete c
delete-snapshot s
delete b
delete a
census
