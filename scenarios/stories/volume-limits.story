story "The limit of a volume slows that volume down, fails nothing, and no other volume feels it"
requires QOS-001 QOS-002 QOS-004 CLU-001
host compute-1

create noisy size=1GiB
create quiet size=1GiB
attach noisy compute-1
attach quiet compute-1
limit noisy iops=8
write noisy at=0 length=4MiB
write quiet at=0 length=4MiB
limit noisy iops=4
write noisy at=1MiB length=2MiB
write quiet at=1MiB length=2MiB
unlimit noisy
write noisy at=0 length=4MiB
verify noisy
verify quiet
detach noisy compute-1
detach quiet compute-1
delete noisy
delete quiet
census
