story "A session that ends under several calls at once is renewed once, and no session is left behind"
requires API-001 CLU-001
host compute-1
host compute-2
fault "rest.before:POST lun" nth=2 do=expire-session
fault "rest.before:POST snapshot" nth=2 do=expire-session
fault "rest.before:DELETE lun" nth=3 do=expire-session

@one create a size=1GiB
@two create b size=1GiB
@three create c size=1GiB
@four create d size=1GiB
@one create e size=1GiB
@two create f size=1GiB
@three create g size=1GiB
@one snapshot s a
@two snapshot t b
@three snapshot u c
@four extend d size=2GiB
@one attach a compute-1
@two attach b compute-2
@three create h size=1GiB volume=c
@one detach a compute-1
@two detach b compute-2
@three delete h
@one delete-snapshot s
@two delete-snapshot t
@three delete-snapshot u
@four delete d
@one delete a
@two delete b
@three delete c
@one delete e
delete f
delete g
census
