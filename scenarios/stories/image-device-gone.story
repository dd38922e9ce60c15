story "A device that fails in the middle of an image fails the create, and no file takes its place"
requires IMG-010 CRE-009 CLU-001
fault "target.command.before:WRITE" nth=2 do=fail
image small kind=sample size=1MiB

create v size=1GiB image=small refused=io
create w size=1GiB image=small
verify w
delete w
census
