//! The link between two simulated arrays: it carries the messages of [`sanbench_array::pair`] over streams of the world.
//!
//! One array dials ([`dial`]), the other listens ([`listen`]). Both prove that they know the shared secret of the link before either
//! believes anything; after that every frame carries a keyed digest over its direction, number and content, which is checksum
//! and authentication at once: what is changed, repeated, left out or put in ends the connection. What a connection lost
//! is the arrays' business, who begin anew on the next one.
//!
//! It must not know what a pair is, REST, iSCSI or SCSI.
//!
//! | module | what |
//! |---|---|
//! | `frame` | bytes of hello and frames, sans-IO |
//! | `pump` | dial, listen, and the loop around one connection |
//!
//! # Fault points
//!
//! `link.send:<message>` with the message's name (`Op`, `Commit`, `Greeting`, ...): `Fail` closes the connection instead of
//! sending it, `DropReply` sends it and closes the connection, `Delay` holds everything behind it up, `CrashNode` calls
//! [`LinkConfig::on_crash`]. `Garbage` makes nonsense of it: a value outside of its range ([`Message::distort`]), or, where
//! every value has a meaning, a frame that is not what was sent. Other wrong answers are as `Fail`.
//!
//! [`Message::distort`]: sanbench_array::pair::Message::distort

mod frame;
mod pump;

pub use frame::{Codec, FRAME_MAX, FrameError, HELLO_BYTES, Hello, PROOF_BYTES, VERSION};
pub use pump::{LinkConfig, dial, listen};
