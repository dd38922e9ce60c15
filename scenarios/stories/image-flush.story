story "An image is on stable storage when it is reported written, whatever becomes of the detach behind it"
requires IMG-001 IMG-011
write-cache on
# The second flush is that of the first volume's detach: its content was flushed before.
fault "target.command.before:SYNCHRONIZE CACHE" nth=2 do=fail
image small kind=sample size=1MiB

create a size=1GiB image=small
create b size=1GiB image=small
power-loss
verify a
verify b
delete a
delete b
census
