//! The host as a pure value: sessions, node records, h:c:t:l devices, by-id names, multipath maps, device events.
//!
//! | module | holds |
//! |---|---|
//! | [`HostTable`] (`table`) | the value and its transitions |
//! | [`UeventPlan`] (`uevent`) | the event queue between kernel, udev and multipathd |
//! | [`Ledger`] (`ledger`) | which volumes are attached by whom; calls in progress; breaches that only a transition shows |
//! | [`Violation`] (`invariants`) | the rules INV-H1 to H12 |
//! | `names` | `sda`, `dm-0`, `wwn-0x...` |
//!
//! Two layers are kept apart, as on a Linux host: what the kernel knows changes at once (sessions, devices, maps); what udev and
//! multipathd know (by-id names, the daemon's path list) follows the events, which may be late and come in bursts. A device
//! outlives its mapping on the array until somebody removes it; that is where stale devices come from.

mod invariants;
mod ledger;
mod names;
mod table;
mod uevent;

pub use invariants::Violation;
pub use ledger::{Departure, Ledger, Target};
pub use names::{by_id_names, dm_name, map_wwid, sd_name};
pub use table::{DeviceRecord, Hctl, HostError, HostTable, MapRecord, SessionId, SessionRecord, Startup};
pub use uevent::{Uevent, UeventKind, UeventPlan};
