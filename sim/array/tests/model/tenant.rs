//! The part of the bench that deals with vStores and portals.

use sanbench_array::{Command, DeviceId, Refusal};

use crate::bench::{Bench, ensure};
use crate::op::Op;

impl Bench {
    pub(crate) fn act_on_plane(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Intrude { pick, what } => {
                let Some(device) = self.pick_device(pick) else { return Ok(()) };
                let (command, missing) = intrusion(device, what);
                let shown = format!("{command:?}");
                let command = Command::Within { vstore: self.tenant, command: Box::new(command) };
                let done = self.array.apply(self.now, command);
                ensure!(done == Err(missing), "{shown} on a device of another vStore gave {done:?}");
            }
            Op::SwitchPortal { portal, enabled } => {
                let port = self.array.portals()[portal].id;
                let done = self.array.apply(self.now, Command::SetPortEnabled { port, enabled });
                ensure!(done.is_ok(), "switching a portal gave {done:?}");
                self.enabled[portal] = enabled;
            }
            _ => unreachable!("{op:?} is not of this part"),
        }
        Ok(())
    }

    pub(crate) fn compare_portals(&self) -> Result<(), String> {
        for portal in 0..2 {
            let (up, expected) =
                (self.array.portal_is_up(portal), self.enabled[portal] && self.plant.up[portal]);
            ensure!(up == expected, "portal {portal} is up: {up}, model says {expected}");
        }
        Ok(())
    }
}

/// A command on a device of somebody else, and how the array says that there is no such device.
fn intrusion(device: DeviceId, what: usize) -> (Command, Refusal) {
    let name = || "intruder".to_owned();
    match device {
        DeviceId::Lun(lun) => {
            let command = match what {
                0 => Command::RenameLun { lun, name: name(), description: None },
                1 => Command::ExpandLun { lun, blocks: 1 << 20 },
                2 => Command::DeleteLun { lun },
                3 => Command::StartSplit { lun },
                4 => Command::CreateSnapshot { name: name(), description: String::new(), parent: lun },
                5 => Command::SetLunLabels { lun, changes: vec![(name(), Some(name()))] },
                6 => Command::SetHome { lun, controller: 0 },
                _ => Command::CloneLun { name: name(), source: device, description: String::new() },
            };
            (command, Refusal::NoSuchLun)
        }
        DeviceId::Snapshot(snapshot) => {
            let command = match what {
                0 | 1 => Command::RenameSnapshot { snapshot, name: name(), description: None },
                2 | 3 => Command::DeleteSnapshot { snapshot },
                4 => Command::StopSnapshot { snapshot },
                5 => Command::RollbackSnapshot { snapshot, speed: 2 },
                6 => Command::ActivateSnapshots { ids: vec![snapshot] },
                _ => Command::CloneLun { name: name(), source: device, description: String::new() },
            };
            (command, Refusal::NoSuchSnapshot)
        }
    }
}
