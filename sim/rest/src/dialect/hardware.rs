//! What monitors read: disks, and the kinds of ports and of file services that this array does not have.
//!
//! The attributes are those that Delfin (SODA Foundation), a public monitor of arrays of this dialect, reads.

use sanbench_array::{Array, Pool};

use crate::dialect::count;
use crate::dialect::system::{by_id, listed, none, none_by_id, none_counted};
use crate::envelope::Object;
use crate::routes::{Route, get};

/// The calls on disks, and on what this array never has.
pub(crate) const ROUTES: &[Route] = &[
    get("disk", "Disks.", |ground, call| listed(call, disks(ground.array))).list(),
    get("disk/count", "How many disks there are.", |ground, _| count(disks(ground.array).count())),
    get("disk/{id}", "A disk.", |ground, call| by_id(call, disks(ground.array))),
    none("fcoe_port"),
    none("fcoe_port/associate"),
    none_counted("fcoe_port/count"),
    none_by_id("fcoe_port/{id}"),
    none("sas_port"),
    none_counted("sas_port/count"),
    none_by_id("sas_port/{id}"),
    none("pcie_port"),
    none_counted("pcie_port/count"),
    none_by_id("pcie_port/{id}"),
    none("bond_port"),
    none_counted("bond_port/count"),
    none_by_id("bond_port/{id}"),
    none("ib_initiator"),
    none_counted("ib_initiator/count"),
    none_by_id("ib_initiator/{id}"),
    none("filesystem"),
    none_counted("filesystem/count"),
    none_by_id("filesystem/{id}"),
    none("quotatree"),
    none("fs_quota"),
    none("cifshare"),
    none("nfshare"),
    none("ftp_share_auth_client"),
];

/// Each pool lies on one disk of its size.
fn disks(array: &Array) -> impl Iterator<Item = Object> {
    array.pools().map(|pool| disk(array.serial(), pool))
}

fn disk(serial: &str, pool: &Pool) -> Object {
    Object::new()
        .text("ID", format!("CTE0.{}", pool.id))
        .text("TYPE", "10")
        .text("LOCATION", format!("CTE0.{}", pool.id))
        .text("MODEL", "SIM-SSD")
        .text("SERIALNUMBER", format!("{serial}{:04}", pool.id))
        .text("MANUFACTURER", "sanbench")
        .text("FIRMWAREVER", "1")
        // A solid-state disk, a member of a pool.
        .text("DISKTYPE", "3")
        .text("LOGICTYPE", "2")
        .text("SPEEDRPM", "0")
        .number("SECTORS", pool.capacity_blocks())
        .text("SECTORSIZE", "512")
        // 255: no score is kept.
        .text("HEALTHMARK", "255")
        .text("POOLID", pool.id.to_string())
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", "27")
}
