story "Images that arrive side by side do not take the control host's mapping from each other"
requires CON-001 IMG-001
image small kind=sample size=1MiB

@a create v1 size=1GiB image=small
@b create v2 size=1GiB image=small
@c create v3 size=1GiB image=small
@a create v4 size=1GiB image=small
@b create v5 size=1GiB image=small
@c create v6 size=1GiB image=small
verify v1
verify v6
delete v1
delete v2
delete v3
delete v4
delete v5
delete v6
census
