story "A portal that is switched off serves nobody, and no host is sent there"
requires ATT-017 MPX-001 CLU-001
host compute-1 paths=2
host compute-2

create a size=1GiB
create b size=1GiB
attach a compute-1
write a at=0 length=64KiB
disable-portal 2
write a at=32KiB length=64KiB
verify a
attach b compute-2
write b at=0 length=64KiB
detach b compute-2
enable-portal 2
wait 5
attach b compute-2
write b at=64KiB length=64KiB
verify a
detach b compute-2
detach a compute-1
delete a
delete b
census
