# Every verb once; the printer's golden file.
story "Every verb, with a \"quoted\" word"
requires CRE-001 IMG-001 CLN-002
option tengling_max_clone_depth 2
pool pool0 64GiB
pool pool1 32GiB disks=mix
write-cache on
journal on
array clones=8 devices=200 target-name=223 product=V500R007C60
remote
schedule random
host compute-1 paths=2
host compute-2
tune compute-2 interfaces=2 events=3 name-length=60 digests=true solicited=true burst=8KiB
type gold volume_backend_name=tldriver capabilities:disk="<in> ssd"
image small kind=sample
image evil kind=backing-file size=1MiB
fault "rest.after:POST lun" nth=2 do=drop-reply
fault target.login do=delay ms=50
fault "rest.before:GET lun" do=http status=429
fault "rest.before:GET lun" do=http
fault "rest.after:PUT lun/expand" nth=3 do=code code=-401
fault "rest.before:POST lun" do=code
fault "rest.after:GET lun" do=truncate
fault "rest.before:GET *" do=garbage
fault "rest.after:GET storagepool" nth=0 do=mistype
fault "rest.before:GET lun" do=oversize
fault "rest.after:GET *" nth=0 do=newer
fault "rest.after:GET lun" do=close
fault "rest.after:POST lun" do=expire-session

create web size=2GiB image=small type=gold pool=pool1   # a comment
create bad size=1GiB image=evil refused=unsafe-image
attach web compute-1
write web at=1MiB length=64KiB
unmap web at=1MiB length=4KiB
flush web
extend web size=3GiB
snapshot monday web
create copy size=3GiB volume=web
create old size=4GiB snapshot=monday
delete-snapshot monday refused=busy
put-back monday
put-back monday refused=no-space
depth copy 1
flatten copy
intrude web compute-2
verify web
scan copy
restart tengling_max_clone_depth=1
power-loss
fail-controller 1
restore-controller 1
disable-portal 2
enable-portal 2
limit web iops=4
unlimit web
cut compute-1 path=2
cut compute-2
cut compute-1 path=1 way=to-host
slow compute-1 path=2 ms=200 segment=7
slow compute-2 ms=5 loss=3
reset compute-1
half-open compute-1 path=2 side=host
half-open compute-2 side=array
reboot compute-2 off=30
reboot compute-1 off=5
restart-initiator compute-1
wait 30
heal compute-1 path=2
heal compute-2
clean
squat later
manage "POST vstore" as=tenant NAME=tenant
manage "POST vstore" times=3 NAME=tenant-{n}
manage "PUT vstore/{tenant}" code=1077948993 NAME=other
manage "POST host" as=earlier ours=yes NAME={host:compute-1}
inspect vstore/{tenant} NAME=tenant
repeat create web
repeat detach web host=compute-2
repeat connect web host=compute-1
revoke web compute-2
reserve web compute-1
reserved web compute-1
unreserve web compute-1
forge web as=qcow2
fill pool0 leave=1MiB
spoil web at=64KiB how=torn
out-of-space write web at=1GiB length=64KiB
drain pool0
mirror web as=metro
mirror copy as=async
sync web
sync web ends=interrupted
pause web
cut-link
heal-link
fail-over web
secondary web access=read-write
write-remote web at=1MiB length=64KiB
write-remote web at=4KiB length=512B refused=io
verify-remote web
alike web
unmirror web
arm "rest.before:POST lun" nth=0 do=delay ms=20
arm "rest.before:POST lun" nth=0 do=http status=503 most=5
arm "target.command.before:WRITE" nth=2 do=scsi-busy
arm target.command.before nth=1 do=task-set-full
arm target.command.before nth=1 do=unit-attention
arm target.command.before nth=3 do=lun-reset
arm flow.delete_volume.delete_lun.before nth=1 do=crash
@a write web at=0 length=4KiB
@b snapshot tuesday copy
@n cut compute-2
@a verify web
disarm
settle
detach web compute-1 force=yes
reimage web image=small
delete web
census
