story "Types that ask in the scheduler's own words get the pools that answer, and no others"
requires SCH-001 SCH-007 CAP-008
pool pool0 4GiB
pool pool1 16GiB
type either pool_name="<or> pool0 <or> pool7"
type neither pool_name="<or> pool7 <or> pool8"
type fat thin_provisioning_support="<is> False"
type thick thick_provisioning_support="<is> True"
type thin thick_provisioning_support="<is> False" QoS_support="<is> no"
type named pool_name="<in> ool0"
type misnamed pool_name="<in> ool7"
type exact vendor_name="s== Tengling" capabilities:pool_name="s!= pool1"
type later pool_name="s> pool0"
type last pool_name="s>= pool1"
type first pool_name="s<= pool0"
type before pool_name="s< pool0"
type spare reserved_percentage=">= 0"
type unspared reserved_percentage="!= 0"
type equal reserved_percentage="== 0"
type at-most reserved_percentage="<= 0"
type iscsi storage_protocol="iscsi"
type fc storage_protocol="FC"
# What another scope asks is the affair of the driver.
type foreign vendor:colour=green
type disk disk_type="<or> ssd <or> sas <or> nl_sas <or> mix"
type spelled multiattach="s== True"
type minus reserved_percentage="<or> 0 <or> 5"

create a size=1GiB type=either pool=pool0
create b size=1GiB type=neither refused=no-backend
create c size=1GiB type=fat refused=no-backend
create d size=1GiB type=thick refused=no-backend
create e size=1GiB type=thin
create f size=1GiB type=named pool=pool0
create g size=1GiB type=misnamed refused=no-backend
create h size=1GiB type=exact pool=pool0
create i size=1GiB type=later pool=pool1
create j size=1GiB type=last pool=pool1
create k size=1GiB type=first pool=pool0
create l size=1GiB type=before refused=no-backend
create m size=1GiB type=spare
create n size=1GiB type=unspared refused=no-backend
create o size=1GiB type=equal
create p size=1GiB type=at-most
create q size=1GiB type=iscsi
create r size=1GiB type=fc refused=no-backend
create s size=1GiB type=foreign
create t size=1GiB type=disk
create v size=1GiB type=minus
create u size=1GiB type=spelled
census
