//! iSCSI and SCSI syntax: PDUs, text keys, digests, CDBs, sense, VPD and mode pages.
