story "What waits for the journal waits for a commit of its own, not for the next that an idle array makes"
requires DUR-004 CLU-001
journal on
host compute-1

create v size=1GiB
attach v compute-1
# Hundreds of writes, each of which is durable before the next one begins.
write v at=0 length=32MiB
verify v
power-loss
write v at=1MiB length=512B
verify v
detach v compute-1
delete v
census
