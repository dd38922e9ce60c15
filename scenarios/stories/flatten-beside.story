story "While a flatten runs, work on other volumes goes on"
requires FLT-008 FLT-001
host compute-1
fault "rest.before:PUT lunclone_split_switch" nth=1 do=delay ms=30000

create a size=1GiB
attach a compute-1
write a at=0 length=256KiB
create b size=1GiB volume=a
create c size=1GiB
@slow flatten b
@other wait 2
@other create d size=1GiB
@other attach c compute-1
verify b
detach c compute-1
detach a compute-1
delete a
delete b
delete c
delete d
census
