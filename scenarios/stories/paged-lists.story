story "A list that takes several pages has each object that lived throughout once, whatever goes away between two pages"
requires API-012 ATT-001 CLU-001 CLU-005
pool pool0 64GiB
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
# Copies that somebody else has prepared, one more than a page of a list has.
manage "POST lun" NAME=from PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=from
manage "POST lun" NAME=to PARENTID=0 CAPACITY=2097152 ALLOCTYPE=1 as=to
manage "POST luncopy" NAME=copy-{n} SOURCELUN=INVALID;{from};INVALID;INVALID;INVALID TARGETLUN=INVALID;{to};INVALID;INVALID;INVALID as=copy times=101
census
# The first goes away while a list of them stands still between its pages: what comes behind moves up.
arm "rest.before:GET luncopy" nth=2 do=delay ms=3000 masked=yes
@list census
@admin wait 1
@admin manage "DELETE luncopy/{copy}"
# The same with hosts.
manage "POST host" NAME=other-{n} OPERATIONSYSTEM=0 as=other times=101
arm "rest.before:GET host" nth=2 do=delay ms=3000 masked=yes
@list census
@admin wait 1
@admin manage "DELETE host/{other}"
inspect luncopy count=100
inspect host NAME=other-101 count=1
verify v
detach v compute-1
delete v
census
