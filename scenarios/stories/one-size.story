story "A volume that is connected again on its host has one size over all paths there, or is not connected again"
requires MPX-003 CLU-001
host compute-1 paths=2
host compute-2

create v size=1GiB
create w size=1GiB
attach v compute-1
attach w compute-2
write v at=0 length=64KiB
write w at=0 length=64KiB
repeat connect v host=compute-1
repeat connect w host=compute-2
extend w size=2GiB
repeat connect w host=compute-2
write w at=1GiB length=64KiB
# The host cannot ask both paths for the new size, and keeps the old one on both.
cut compute-1 path=2
extend v size=2GiB
# One path alone would show the new size now.
repeat connect v host=compute-1
heal compute-1 path=2
wait 150
repeat connect v host=compute-1
settle
verify v
detach w compute-2
delete v
delete w
census
