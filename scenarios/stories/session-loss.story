story "Sessions end at every kind of call: each is renewed once, nothing is done twice"
requires API-002 CRE-002 CRE-007 EXT-007 ATT-001 CLU-001 CLU-005
host compute-1
# Before the work: the call itself finds its session gone.
fault "rest.before:POST lun" nth=1 do=expire-session
fault "rest.before:GET storagepool" nth=2 do=code code=1077949069
fault "rest.before:POST host" nth=1 do=expire-session
fault "rest.before:GET lun/associate" nth=1 do=code code=-401
fault "rest.before:PUT mappingview/create_associate" nth=2 do=expire-session
# After the work: it was done, and the answer says that there was no session.
fault "rest.after:POST snapshot" nth=1 do=expire-session
fault "rest.after:PUT lun/expand" nth=1 do=expire-session
fault "rest.after:POST lun" nth=3 do=expire-session
fault "rest.after:POST mappingview" nth=1 do=expire-session
fault "rest.after:POST lungroup/associate" nth=1 do=expire-session
fault "rest.after:DELETE lungroup/associate" nth=1 do=expire-session
fault "rest.after:DELETE snapshot" nth=1 do=expire-session
fault "rest.after:DELETE lun" nth=1 do=code code=-401

create a size=1GiB
attach a compute-1
write a at=0 length=64KiB
snapshot s a
extend a size=2GiB
create b size=2GiB volume=a
create c size=2GiB snapshot=s
verify b
verify c
detach a compute-1
delete b
delete c
delete-snapshot s
delete a
census
