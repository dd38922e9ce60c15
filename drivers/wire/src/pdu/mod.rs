//! One value type for each PDU, with `parse` and `emit` (RFC 7143 sections 11.3 to 11.19).
//!
//! `emit` gives a [`RawPdu`] for the [`Outbox`]; `parse` reads one. For every value `parse(emit(x)) == x`. Reserved
//! bits are written as zero and not looked at. Code fields are open sets: unknown values survive.

mod data;
mod login;
mod logout;
mod nop;
mod notice;
mod scsi;
mod task;
mod text;

pub use data::{DataIn, DataInStatus, DataOut, R2t};
pub use login::{LoginRequest, LoginResponse, LoginStatus, Stage, Stages};
pub use logout::{LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode};
pub use nop::{NopIn, NopOut};
pub use notice::{AsyncEvent, AsyncMessage, Reject, RejectReason, Snack, SnackType};
pub use scsi::{Residual, ResponseCode, ScsiCommand, ScsiResponse, TaskAttribute};
pub use task::{TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskResponse};
pub use text::{TextRequest, TextResponse};

use crate::bhs::Opcode;
use crate::frame::{Digests, Outbox, RawPdu};

/// A PDU that does not follow its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The opcode bits name no PDU.
    #[error("unknown opcode {0:#04x}")]
    Opcode(u8),
    /// The PDU was parsed as something that it is not.
    #[error("opcode is not {0:?}")]
    Unexpected(Opcode),
    /// A field has a value that the layout forbids.
    #[error("bad field: {0}")]
    Field(&'static str),
}

/// Any PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant carries the documented type of the same name")]
pub enum Pdu {
    NopOut(NopOut),
    ScsiCommand(ScsiCommand),
    TaskManagementRequest(TaskManagementRequest),
    LoginRequest(LoginRequest),
    TextRequest(TextRequest),
    DataOut(DataOut),
    LogoutRequest(LogoutRequest),
    Snack(Snack),
    NopIn(NopIn),
    ScsiResponse(ScsiResponse),
    TaskManagementResponse(TaskManagementResponse),
    LoginResponse(LoginResponse),
    TextResponse(TextResponse),
    DataIn(DataIn),
    LogoutResponse(LogoutResponse),
    R2t(R2t),
    AsyncMessage(AsyncMessage),
    Reject(Reject),
}

macro_rules! each {
    ($($name:ident)*) => {
        impl Pdu {
            /// Reads the PDU that the opcode names.
            pub fn parse(raw: &RawPdu) -> Result<Pdu, Malformed> {
                match raw.bhs.opcode().ok_or(Malformed::Opcode(raw.bhs.opcode_bits()))? {
                    $(Opcode::$name => $name::parse(raw).map(Pdu::$name),)*
                }
            }

            /// Writes header and data segment.
            pub fn emit(&self) -> RawPdu {
                match self {
                    $(Pdu::$name(p) => p.emit(),)*
                }
            }

            /// The opcode of this PDU.
            pub fn opcode(&self) -> Opcode {
                match self {
                    $(Pdu::$name(_) => Opcode::$name,)*
                }
            }
        }

        $(impl From<$name> for Pdu {
            fn from(p: $name) -> Pdu {
                Pdu::$name(p)
            }
        })*
    };
}

each! { NopOut ScsiCommand TaskManagementRequest LoginRequest TextRequest DataOut LogoutRequest Snack NopIn ScsiResponse
TaskManagementResponse LoginResponse TextResponse DataIn LogoutResponse R2t AsyncMessage Reject }

impl Pdu {
    /// Emits the PDU into an outgoing queue.
    pub fn push_to(&self, out: &mut Outbox, digests: Digests) {
        out.push(&self.emit(), digests);
    }
}

/// Checks that a header has the opcode that a `parse` function is about to read.
fn expect_opcode(raw: &RawPdu, opcode: Opcode) -> Result<(), Malformed> {
    if raw.bhs.opcode() == Some(opcode) { Ok(()) } else { Err(Malformed::Unexpected(opcode)) }
}
