story "A create that fails in one pool is made in another one, and the first one keeps nothing"
requires SCH-003 SCH-001 CLU-005
pool pool0 16GiB
pool pool1 8GiB
pool pool2 4GiB
fault "flow.build_volume.make.after" nth=1 do=fail
fault "flow.build_volume.make.after" nth=3 do=fail
fault "flow.build_volume.make.after" nth=4 do=fail

create v size=1GiB
# Twice in a row: the third attempt is the last one.
create w size=1GiB
create x size=1GiB
census
delete v
delete w
delete x
census
