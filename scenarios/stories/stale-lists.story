story "Lookups that are behind the truth mislead nobody: what was there a moment ago is looked for again"
requires ATT-001 CRE-007 CLU-001 CLU-005
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
detach v compute-1
# The last time that somebody asked, the volume was in no group.
attach v compute-1
arm "rest.after:GET lungroup/associate" do=stale
detach v compute-1
settle
verify v
arm "rest.after:GET lungroup/associate" do=stale
attach v compute-1
settle
verify v
# The last time that somebody asked, the host had no LUN group; now it has one, with another volume in it.
create w size=1GiB
flush v
revoke v compute-1
attach w compute-1
write w at=0 length=64KiB
arm "rest.after:GET lungroup" do=stale
detach v compute-1
verify w
settle
verify w
detach w compute-1
delete w
arm "rest.after:GET lun" do=stale
delete v
settle
census
