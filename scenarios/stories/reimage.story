story "An image written over used content leaves nothing of it in the image's holes"
requires IMG-001 IMG-002 CLU-001
host compute-1
image small kind=sample size=1MiB

create v size=1GiB
attach v compute-1
write v at=0 length=2MiB
detach v compute-1
reimage v image=small
verify v
delete v
census
