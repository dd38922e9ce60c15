//! The contract of volume drivers, connectors and block devices.
