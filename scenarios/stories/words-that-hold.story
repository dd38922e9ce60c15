story "A word of the scheduler's that holds for a pool keeps no volume away from it"
requires SCH-001 SCH-007
pool pool0 8GiB
type unlike reserved_percentage="!= 5"
type thin thin_provisioning_support="<is> True"

# Both hold for every pool of the array. A word that is not understood would hold for none.
create a size=1GiB type=unlike pool=pool0
create b size=1GiB type=thin pool=pool0
delete a
delete b
census
