story "A host's persistent reservation outlasts new logins and a loss of power"
requires SCS-012 SCS-013
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
reserve v compute-1
write v at=64KiB length=4KiB
cut compute-1
wait 60
heal compute-1
write v at=128KiB length=4KiB
reserved v compute-1
power-loss
reserved v compute-1
write v at=192KiB length=4KiB
unreserve v compute-1
detach v compute-1
delete v
census
