story "What was there before a create that the array refuses is nobody's leftover"
requires CLU-005 CRE-001
host compute-1

create a size=1GiB
squat b
# The array is busy for longer than a driver is patient: for a volume that is there, and for a name that somebody else has.
arm rest.before:* nth=1 do=fail
arm rest.before:* nth=2 do=fail
arm rest.before:* nth=3 do=fail
arm rest.before:* nth=4 do=fail
arm rest.before:* nth=5 do=fail
arm rest.before:* nth=6 do=fail
repeat create a
disarm
arm "rest.before:POST lun" nth=0 do=fail
create b size=1GiB refused=exists
disarm
settle
create c size=1GiB
delete c
delete a
census
