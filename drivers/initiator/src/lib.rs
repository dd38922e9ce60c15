//! User-space iSCSI initiator, multipath, host table and connector.
