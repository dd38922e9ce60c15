//! iSCSI target and SCSI device server of the simulated array.
