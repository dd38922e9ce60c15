story "A forced disconnect goes on when its flush fails"
requires IMG-001 CLU-001
# The control host lets go of a new volume by force. Its second flush is that of the disconnect: the content was flushed
# before, so nothing is lost, and nothing may stay.
fault "target.command.before:SYNCHRONIZE CACHE" nth=2 do=fail
image small kind=sample size=1MiB

create v size=1GiB image=small
verify v
delete v
census
