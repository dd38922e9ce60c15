story "One of the array's management addresses is enough, wherever it stands in a full list"
requires CRE-001 CRE-007 CLU-001
# As many as the option may name; nobody listens at the others.
pool pool0 64GiB
option tengling_sanip "{default};127.0.0.1:9;127.0.0.1:10;127.0.0.1:11;127.0.0.1:12;127.0.0.1:13;127.0.0.1:14;127.0.0.1:15;127.0.0.1:16;127.0.0.1:17;127.0.0.1:18;127.0.0.1:19;127.0.0.1:20;127.0.0.1:21;127.0.0.1:22;127.0.0.1:23"
# One pool, so that no failure is hidden by a second attempt elsewhere. The session is over in the middle of the second create,
# and the first attempt to log in again finds the controller cut off.
fault "rest.before:GET storagepool" nth=4 do=expire-session
fault "rest.after:POST sessions" nth=2 do=code code=4294967297

create a size=1GiB
create b size=1GiB
delete b
restart tengling_sanip="http://127.0.0.1:9/deviceManager/rest/;{default}"
create c size=1GiB
delete c
delete a
census
