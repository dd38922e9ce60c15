story "A hostile image is refused and leaves nothing"
requires IMG-003 IMG-004 IMG-005 IMG-006 IMG-007 IMG-008 IMG-009 CRE-009 CLU-001
image back kind=backing-file
image data kind=data-file
image cut kind=truncated
image huge kind=absurd-size
image wolf kind=mislabelled
image both kind=two-formats
image flat kind=foreign-extent
image table kind=huge-table
image none kind=short-table

create v size=1GiB image=back refused=unsafe-image
create v size=1GiB image=data refused=unsafe-image
create v size=1GiB image=cut refused=unsafe-image
create v size=1GiB image=huge refused=unsafe-image
create v size=1GiB image=wolf refused=unsafe-image
create v size=1GiB image=both refused=unsafe-image
create v size=1GiB image=flat refused=unsafe-image
create v size=1GiB image=table refused=unsafe-image
create v size=1GiB image=none refused=unsafe-image
census
