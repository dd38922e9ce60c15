//! iSCSI and SCSI syntax: PDUs, text keys, digests, CDBs, sense, VPD and mode pages.
//!
//! This crate turns bytes into values and values into bytes, and nothing else. It holds no state, has no
//! defaults, makes no choices and does no I/O; the target and the initiator share it and each checks the other.
//!
//! # Where things are
//!
//! | module | what it knows | source |
//! |---|---|---|
//! | [`bhs`] | the 48-byte basic header segment and the opcodes | RFC 7143 section 11.2 |
//! | [`frame`] | where a PDU begins and ends in a byte stream, digests, and the outgoing queue | RFC 7143 sections 11.2, 13.1 |
//! | [`pdu`] | one value type for each PDU | RFC 7143 sections 11.3 to 11.19 |
//! | [`keys`] | `key=value` text and binary values | RFC 7143 section 6.1 |
//! | [`scsi`] | CDBs, sense data, VPD and mode pages, parameter data | SAM-5, SPC-4, SBC-3 |
//!
//! Start with [`frame::decode`] and [`pdu::Pdu::parse`] for the way in, and with [`frame::Outbox`] for the way out.
//!
//! It must not know sessions, negotiation rules, arrays, devices, time or sockets.

pub mod bhs;
pub mod frame;
pub mod keys;
pub mod pdu;
pub mod scsi;

pub(crate) mod codes;

pub use bhs::{Bhs, Opcode};
pub use frame::{Broken, Decoded, Digests, FrameLimits, Outbox, RawPdu};
pub use pdu::{Malformed, Pdu};
