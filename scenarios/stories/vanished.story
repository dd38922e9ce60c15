story "What is gone when somebody looks at it closer was wanted gone: a detach goes on"
requires ATT-001 CLU-001 CLU-005
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
# The LUN group vanishes between the look at the mapping and the look at its members: the answer that the array has for that.
arm "rest.before:GET lun/count" do=code code=1077936861 masked=yes
detach v compute-1
verify v
delete v
census
