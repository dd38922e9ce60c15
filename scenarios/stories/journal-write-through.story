story "Without a volatile cache every acknowledged write is in the journal, however small, and whatever shares its page"
requires DUR-004 DUR-005 DUR-010 CLN-001 SNP-001 SCS-007 API-002 CLU-001
journal on
host compute-1

create v size=1GiB
attach v compute-1
write v at=0 length=512KiB
power-loss
write v at=512B length=512B
power-loss
write v at=3KiB length=2KiB
write v at=63KiB length=2KiB
write v at=66KiB length=70KiB
power-loss
verify v
unmap v at=1KiB length=1KiB
unmap v at=4KiB length=4KiB
unmap v at=126KiB length=3KiB
unmap v at=192KiB length=64KiB
power-loss
verify v
snapshot s v
power-loss
write v at=2KiB length=512B
write v at=5KiB length=1KiB
write v at=200KiB length=512B
unmap v at=320KiB length=2KiB
power-loss
create c size=1GiB snapshot=s
create d size=1GiB volume=v
power-loss
attach c compute-1
attach d compute-1
write c at=321KiB length=1KiB
write d at=447KiB length=2KiB
unmap d at=0 length=6KiB
write v at=640MiB length=9KiB
power-loss
power-loss
verify v
verify c
verify d
write v at=0 length=128KiB
unmap v at=0 length=128KiB
power-loss
write v at=100KiB length=512B
write c at=0 length=64KiB
write c at=4KiB length=8KiB
power-loss
verify v
verify c
verify d
delete-snapshot s
power-loss
write d at=448KiB length=512B
power-loss
verify d
verify c
verify v
detach c compute-1
detach d compute-1
detach v compute-1
delete c
delete d
delete v
power-loss
census
