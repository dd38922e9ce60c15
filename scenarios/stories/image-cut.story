story "An image stream that breaks off fails the create and leaves nothing"
requires IMG-003 CRE-009 CLU-001
host compute-1
fault "image.read" nth=1 do=drop-reply
image plain kind=raw size=3MiB

create v size=1GiB image=plain refused=unsafe-image
create w size=1GiB image=plain
verify w
delete w
census
