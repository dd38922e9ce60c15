story "A login that the target cannot serve just then is tried again"
requires MPX-012 ATT-001 CLU-006
host compute-1 paths=1
# At each portal once: whoever gives up there and goes on to the next has none left.
fault "target.login" nth=1 do=fail
fault "target.login" nth=2 do=fail

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
detach v compute-1
delete v
census
