//! Commands of a logical unit beyond reading and writing blocks: what a path checker, a cluster and a conformance suite ask for.
//!
//! None of them is sent again by itself after its connection was lost: some have effects that must not come twice (COMPARE AND
//! WRITE, reservations). [`PathFault::Lost`] tells the caller that the effect is not known.

use bytes::Bytes;
use sanbench_api::{BLOCK_SIZE, BlockError};
use sanbench_wire::pdu::{TaskFunction, TaskResponse};
use sanbench_wire::scsi::alua::{self, AccessState, PortGroups};
use sanbench_wire::scsi::cdb::{Cdb, Transfer as Range, Width};
use sanbench_wire::scsi::mode::{self, ModeData, ModePage, PageControl};
use sanbench_wire::scsi::reservation::{self, Kind, OutList};
use sanbench_wire::scsi::vpd::{Association, Identifier, Vpd, page};

use crate::device::{PathDevice, PathFault};
use crate::scsi;
use crate::session::Transfer;

/// Bytes asked for where an answer may be long.
const LONG: u16 = 8192;

/// Which target port a path leads through (VPD page 83h, SPC-4 clause 7.8.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortIdentity {
    /// Relative target port identifier.
    pub port: Option<u16>,
    /// Target port group.
    pub group: Option<u16>,
}

fn bad(what: impl std::fmt::Display) -> PathFault {
    PathFault::Block(BlockError::Protocol { message: what.to_string() })
}

/// The CDB of a range with 16 bytes, FUA as asked.
fn range(lba: u64, blocks: u32, fua: bool) -> Range {
    Range { fua, ..Range::new(Width::Sixteen, lba, blocks) }
}

fn whole_blocks(data: &Bytes) -> Result<u32, PathFault> {
    let size = BLOCK_SIZE as usize;
    match u32::try_from(data.len() / size) {
        Ok(blocks) if data.len().is_multiple_of(size) => Ok(blocks),
        _ => Err(bad("data that are not whole blocks")),
    }
}

impl PathDevice {
    /// Runs any command over the present connection, with the retry policy of [`crate::retry`]. Answers the data that came in.
    ///
    /// # Errors
    /// [`PathFault`].
    pub async fn command(&self, cdb: Cdb, data: Transfer) -> Result<Bytes, PathFault> {
        self.ask(scsi::request(self.scsi_lun(), cdb, data)).await
    }

    /// REPORT TARGET PORT GROUPS.
    ///
    /// # Errors
    /// Why there is no answer; ILLEGAL REQUEST from a unit without ALUA.
    pub async fn report_target_port_groups(&self) -> Result<PortGroups, PathFault> {
        let allocation = u32::from(LONG);
        let cdb = Cdb::ReportTargetPortGroups { extended: false, allocation };
        let data = self.command(cdb, Transfer::In(allocation)).await?;
        PortGroups::parse(&data, false).map_err(bad)
    }

    /// SET TARGET PORT GROUPS: explicit ALUA.
    ///
    /// # Errors
    /// The device server's refusal.
    pub async fn set_target_port_groups(&self, groups: &[(u16, AccessState)]) -> Result<(), PathFault> {
        let list = alua::build_set(groups);
        let cdb =
            Cdb::SetTargetPortGroups { parameter_length: u32::try_from(list.len()).unwrap_or(u32::MAX) };
        self.command(cdb, Transfer::Out(list.into())).await.map(|_| ())
    }

    /// The target port and the group that this path leads through.
    ///
    /// # Errors
    /// Why they could not be read.
    pub async fn port_identity(&self) -> Result<PortIdentity, PathFault> {
        let data = self.ask(scsi::inquiry(self.scsi_lun(), Some(page::DEVICE_ID))).await?;
        let (_, Vpd::DeviceId(designators)) = Vpd::parse(&data).map_err(bad)? else {
            return Err(bad("another VPD page than asked for"));
        };
        let mut identity = PortIdentity::default();
        for designator in designators.into_iter().filter(|d| d.association == Association::TargetPort) {
            match designator.id {
                Identifier::RelativePort(port) => identity.port = Some(port),
                Identifier::PortGroup(group) => identity.group = Some(group),
                _ => {}
            }
        }
        Ok(identity)
    }

    /// MODE SENSE (6) of one page.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn mode_sense(&self, page: u8, control: PageControl) -> Result<ModeData, PathFault> {
        let allocation = 255;
        let cdb = Cdb::ModeSense {
            width: Width::Six,
            no_descriptors: true,
            long_lba: false,
            control,
            page,
            subpage: 0,
            allocation,
        };
        let data = self.command(cdb, Transfer::In(u32::from(allocation))).await?;
        ModeData::parse6(&data).map_err(bad)
    }

    /// Whether the device has a volatile write cache switched on (WCE): then only FUA and SYNCHRONIZE CACHE make a write
    /// durable.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn write_cache(&self) -> Result<bool, PathFault> {
        let data = self.mode_sense(mode::page::CACHING, PageControl::Current).await?;
        let caching = data.pages.iter().find_map(|page| match page {
            ModePage::Caching(caching) => Some(caching.write_cache),
            _ => None,
        });
        caching.ok_or_else(|| bad("MODE SENSE without the page that was asked for"))
    }

    /// Whether the device is write protected for us (WP).
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn write_protected(&self) -> Result<bool, PathFault> {
        Ok(self.mode_sense(mode::page::CACHING, PageControl::Current).await?.write_protected)
    }

    /// START STOP UNIT.
    ///
    /// # Errors
    /// The device server's refusal.
    pub async fn start_stop(&self, start: bool) -> Result<(), PathFault> {
        let cdb = Cdb::StartStopUnit {
            immediate: false,
            power_condition: 0,
            no_flush: false,
            load_eject: false,
            start,
        };
        self.command(cdb, Transfer::None).await.map(|_| ())
    }

    /// SYNCHRONIZE CACHE of a range; `blocks` of 0 reaches to the end.
    ///
    /// # Errors
    /// The device server's refusal.
    pub async fn synchronize(&self, lba: u64, blocks: u32) -> Result<(), PathFault> {
        let cdb = Cdb::SynchronizeCache { width: Width::Sixteen, lba, blocks, immediate: false };
        self.command(cdb, Transfer::None).await.map(|_| ())
    }

    /// READ with FUA: from the medium. One command, not split.
    ///
    /// # Errors
    /// The device server's refusal; less data than asked for.
    pub async fn read_through(&self, lba: u64, blocks: u32) -> Result<Bytes, PathFault> {
        let length = blocks.checked_mul(BLOCK_SIZE).ok_or_else(|| bad("a transfer of 4 GiB"))?;
        let data = self.command(Cdb::Read(range(lba, blocks, true)), Transfer::In(length)).await?;
        if data.len() == length as usize {
            Ok(data)
        } else {
            Err(bad("a read gave less data than asked for"))
        }
    }

    /// WRITE with FUA: durable when it is answered. One command, not split.
    ///
    /// # Errors
    /// The device server's refusal.
    pub async fn write_through(&self, lba: u64, data: Bytes) -> Result<(), PathFault> {
        let blocks = whole_blocks(&data)?;
        self.command(Cdb::Write(range(lba, blocks, true)), Transfer::Out(data)).await.map(|_| ())
    }

    /// COMPARE AND WRITE: writes `data` when the blocks hold `expected`, as one atom. The inner answer is `Err` with the offset of
    /// the first byte that differs, when the device tells it.
    ///
    /// # Errors
    /// [`PathFault`]; both buffers must have the same length, 1 to 255 blocks.
    pub async fn compare_and_write(
        &self,
        lba: u64,
        expected: &[u8],
        data: &[u8],
    ) -> Result<Result<(), Option<u64>>, PathFault> {
        let blocks = expected.len() / BLOCK_SIZE as usize;
        if expected.len() != data.len()
            || blocks * BLOCK_SIZE as usize != data.len()
            || !(1..=255).contains(&blocks)
        {
            return Err(bad("COMPARE AND WRITE of buffers that do not fit"));
        }
        let both: Bytes = [expected, data].concat().into();
        let cdb = Cdb::CompareAndWrite(range(lba, blocks as u32, false));
        let request = scsi::request(self.scsi_lun(), cdb, Transfer::Out(both));
        match self.ask_sense(request).await? {
            Ok(_) => Ok(Ok(())),
            Err(sense) if sense.key == sanbench_wire::scsi::sense::SenseKey::MISCOMPARE => {
                Ok(Err(sense.information))
            }
            Err(sense) => Err(scsi::sense_error(sense).into()),
        }
    }

    /// PERSISTENT RESERVE OUT with the basic parameter list. `action` is one of [`reservation::action`].
    ///
    /// # Errors
    /// RESERVATION CONFLICT as [`BlockError::Status`]; other refusals.
    pub async fn reserve_out(&self, action: u8, kind: Kind, list: OutList) -> Result<(), PathFault> {
        let list = Bytes::copy_from_slice(&list.build());
        let parameter_length = 24;
        let cdb = Cdb::PersistentReserveOut { action, scope: 0, kind: kind.0, parameter_length };
        self.command(cdb, Transfer::Out(list)).await.map(|_| ())
    }

    /// PERSISTENT RESERVE IN, READ KEYS: PRGENERATION and the registered keys.
    ///
    /// # Errors
    /// Why they could not be read.
    pub async fn reservation_keys(&self) -> Result<(u32, Vec<u64>), PathFault> {
        reservation::parse_keys(&self.reserve_in(reservation::read::KEYS).await?).map_err(bad)
    }

    /// PERSISTENT RESERVE IN, READ RESERVATION: PRGENERATION, and key and type of the holder if there is one.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn reservation(&self) -> Result<(u32, Option<(u64, Kind)>), PathFault> {
        reservation::parse_reservation(&self.reserve_in(reservation::read::RESERVATION).await?).map_err(bad)
    }

    /// PERSISTENT RESERVE IN: the parameter data of a service action of [`reservation::read`].
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn reserve_in(&self, action: u8) -> Result<Bytes, PathFault> {
        let cdb = Cdb::PersistentReserveIn { action, allocation: LONG };
        self.command(cdb, Transfer::In(u32::from(LONG))).await
    }

    /// LOGICAL UNIT RESET. `false`: not confirmed.
    pub async fn logical_unit_reset(&self) -> bool {
        self.reset().await
    }

    /// A task management function of the logical unit that names no task. `None`: no answer in time.
    pub async fn manage(&self, function: TaskFunction) -> Option<TaskResponse> {
        let (link, _) = self.session().up()?;
        link.manage(self.env(), function, self.scsi_lun()).await
    }
}
