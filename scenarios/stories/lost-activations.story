story "A snapshot that the array does not switch on at once is asked for again, and not for ever"
requires SNP-001 SNP-006 CLU-001
host compute-1
fault "rest.before:POST snapshot/activate" nth=1 do=http status=503
fault "rest.before:POST snapshot/activate" nth=2 do=http status=503
fault "rest.before:POST snapshot/activate" nth=3 do=http status=503
fault "rest.before:POST snapshot/activate" nth=4 do=http status=503

create a size=1GiB
attach a compute-1
write a at=0 length=256KiB
snapshot s a
write a at=64KiB length=64KiB
create b size=1GiB snapshot=s
verify b
detach a compute-1
delete b
delete-snapshot s
delete a
census
