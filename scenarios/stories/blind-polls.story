story "Looks at a running job fail: the job goes on, and its own end decides"
requires API-013 FLT-001 CLN-002 CLU-001 CLU-005
option tengling_flatten_volume_from_snapshot True
host compute-1
fault "rest.after:PUT lunclone_split_switch" nth=1 do=drop-reply
fault "rest.before:GET lun" nth=5 do=http status=503
fault "rest.before:GET lun" nth=7 do=garbage
fault "rest.before:GET lun" nth=8 do=drop-reply
fault "rest.after:GET lun" nth=10 do=truncate
fault "rest.before:GET lun" nth=12 do=code code=1077949006

create a size=1GiB
attach a compute-1
write a at=0 length=8MiB
snapshot s a
create b size=1GiB snapshot=s
depth b 0
verify b
create c size=2GiB snapshot=s
depth c 0
verify c
detach a compute-1
delete c
delete b
delete-snapshot s
delete a
census
