story "Answers whose texts are empty or endless name nothing: what was made behind them is found, once"
requires API-004 API-007 CRE-002 CLU-001 CLU-005
host compute-1
fault "rest.after:POST lun" nth=1 do=blank
fault "rest.after:POST lun" nth=2 do=overlong
fault "rest.after:POST snapshot" nth=1 do=blank
fault "rest.after:POST host" nth=1 do=overlong
fault "rest.after:POST lungroup" nth=1 do=blank
fault "rest.after:POST mappingview" nth=1 do=overlong

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
snapshot s a
create b size=2GiB volume=a
verify b
detach a compute-1
arm "rest.after:GET lun" do=blank
delete b
settle
delete-snapshot s
delete a
census
