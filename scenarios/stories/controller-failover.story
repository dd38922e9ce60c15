story "A controller fails under I/O: the volume stays itself, and I/O goes on"
requires MPX-003 MPX-005 DUR-008 CLU-001
write-cache on
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=256KiB
fail-controller 0
write v at=64KiB length=64KiB
verify v
detach v compute-1
attach v compute-1
write v at=96KiB length=64KiB
restore-controller 0
wait 3
detach v compute-1
attach v compute-1
write v at=128KiB length=64KiB
fail-controller 1
write v at=192KiB length=64KiB
verify v
restore-controller 1
wait 3
write v at=256KiB length=64KiB
verify v
detach v compute-1
delete v
census
