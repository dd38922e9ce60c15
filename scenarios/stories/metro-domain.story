story "A HyperMetro domain is there once on both arrays, and gone from both when it is deleted"
requires OBS-005 CLU-001
remote

inspect remote_device as=remote
inspect hypermetrodomain count=0
# Made on one array, it has to be listed and counted on both.
manage "POST hypermetrodomain" NAME=pair REMOTEDEVICEID={remote} as=domain
inspect hypermetrodomain NAME=pair count=1
inspect hypermetrodomain/count COUNT=1
wait 5
inspect hypermetrodomain array=far NAME=pair count=1
manage "DELETE hypermetrodomain/{domain}"
wait 5
inspect hypermetrodomain count=0
inspect hypermetrodomain array=far count=0
census
