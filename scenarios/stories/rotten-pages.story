story "What a disk spoils below the array is not given out as good, in a volume, its clone and in between"
requires DAT-006 DAT-001
journal on
host compute-1 paths=2

create base size=1GiB
attach base compute-1
write base at=0 length=256KiB
flush base
spoil base at=0 how=rot
spoil base at=66KiB how=torn
spoil base at=128KiB how=misdirected
# A layer in the middle: what the clone reads lies in pages that it shares with a snapshot of its source.
create middle size=1GiB volume=base
write base at=0 length=64KiB
attach middle compute-1
spoil middle at=4KiB how=rot
create young size=1GiB volume=middle
attach young compute-1
spoil young at=132KiB how=torn
write young at=4KiB length=4KiB
spoil young at=4KiB how=rot
power-loss
spoil young at=8KiB how=misdirected
verify base
verify middle
verify young
