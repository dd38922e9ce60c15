story "An array of a later version says more than the driver knows"
requires API-015 CRE-001 CLN-001 ATT-001 CLU-001
option tengling_max_clone_depth 1
host compute-1
fault "rest.after:GET *" nth=0 do=newer
fault "rest.after:POST *" nth=0 do=newer
fault "rest.after:PUT *" nth=0 do=newer
fault "rest.after:DELETE *" nth=0 do=newer

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
snapshot s a
create b size=2GiB snapshot=s
create c size=2GiB volume=b
depth c 0
extend a size=2GiB
verify b
verify c
detach a compute-1
delete c
delete b
delete-snapshot s
delete a
census
