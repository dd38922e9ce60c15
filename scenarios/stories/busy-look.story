story "Whoever looked at a volume over the control host lets go of it, also when the first try fails"
requires ATT-001 CLU-001
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
detach v compute-1
# The device of the control host does not go at once: the next try takes it away.
arm connector.disconnect nth=1 do=fail masked=yes
verify v
delete v
census
