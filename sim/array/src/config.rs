//! What an array is made of at construction. Values only; nothing here changes later.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Defects;

/// Everything that [`crate::Array::new`] needs.
#[derive(Debug, Clone)]
pub struct ArrayConfig {
    /// `PRODUCTVERSION` string, for example `V600R003C00`. From `V600R005C00` on (plain string comparison)
    /// snapshots are born activated.
    pub product: String,
    /// Serial number: 16 hexadecimal digits, the array's own WWN and the base of all LUN WWNs.
    /// Other text is hashed into such a base.
    pub serial: String,
    /// Storage pools, numbered from 0 in this order.
    pub pools: Vec<PoolConfig>,
    /// iSCSI portals, in this order.
    pub portals: Vec<PortalConfig>,
    /// iSCSI name of the target. Portals answer to this name and to their own (see [`crate::Portal::iqn`]).
    pub target_iqn: String,
    /// Extents of 64 KiB that one split copies in a second; 0 means that a split ends at once.
    pub flatten_rate: u64,
    /// Extents of 64 KiB that one LUN copy, clone pair, migration or rollback of speed 2 copies in a second; 0 means at once.
    pub copy_rate: u64,
    /// Controllers, 1 to 8; portals that name a higher one add to it.
    pub controllers: u8,
    /// Whether new LUNs have a volatile write cache switched on (WCE). Off, every acknowledged write is durable.
    pub write_cache: bool,
    /// Most blocks that the write cache of one LUN may hold unsynchronised; the oldest are destaged beyond that. 0 makes
    /// every write durable at once.
    pub cache_blocks: u64,
    /// How long a group whose access state changes is *transitioning*; zero for not at all.
    pub transition: Duration,
    /// How long after a controller's return its LUNs come home, with implicit ALUA; none for never.
    pub failback: Option<Duration>,
    /// Access states change by themselves: LUNs of a failed controller move to another one.
    pub implicit_alua: bool,
    /// Initiators may change access states (SET TARGET PORT GROUPS).
    pub explicit_alua: bool,
    /// Added to the relative target port ids, so that two arrays that show one LUN do not give one id twice (SPC-4: an id
    /// names a port of the whole SCSI device). The target portal group tags of the two must differ as well.
    pub port_base: u16,
    /// Planted defects; none by default.
    pub defects: Defects,
    /// Bounds on what commands may create.
    pub limits: Limits,
}

impl Default for ArrayConfig {
    fn default() -> Self {
        Self {
            product: "V600R003C00".to_owned(),
            serial: "21003400a30d844d".to_owned(),
            pools: vec![PoolConfig::new("pool0", 1 << 31), PoolConfig::new("pool1", 1 << 31)],
            portals: Vec::new(),
            target_iqn: "iqn.2006-08.com.huawei:oceanstor:21003400a30d844d".to_owned(),
            flatten_rate: 4096,
            copy_rate: 4096,
            controllers: 2,
            write_cache: false,
            cache_blocks: 65_536, // 32 MiB
            transition: Duration::ZERO,
            failback: Some(Duration::ZERO),
            implicit_alua: true,
            explicit_alua: true,
            port_base: 0,
            defects: Defects::default(),
            limits: Limits::default(),
        }
    }
}

/// One storage pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Name, unique on the array.
    pub name: String,
    /// Physical capacity in blocks of 512 bytes, rounded down to whole extents of 128 blocks.
    pub capacity_blocks: u64,
    /// What disks it is made of.
    pub disks: Disks,
}

impl PoolConfig {
    /// A pool with `capacity_blocks` blocks of 512 bytes, on solid-state disks.
    pub fn new(name: impl Into<String>, capacity_blocks: u64) -> Self {
        Self { name: name.into(), capacity_blocks, disks: Disks::default() }
    }
}

/// What disks a pool is made of: how its capacity is told by performance tiers. It makes no difference to what the pool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disks {
    /// Solid-state disks, tier 0.
    #[default]
    Ssd,
    /// SAS disks, tier 1.
    Sas,
    /// Near-line SAS disks, tier 2.
    NlSas,
    /// Half of the capacity in each of the tiers 0 and 1.
    Mix,
    /// The pool does not say.
    Untold,
}

impl Disks {
    /// How so many blocks lie in the tiers 0, 1 and 2; none where the pool does not say.
    pub fn tiers(self, blocks: u64) -> Option<[u64; 3]> {
        match self {
            Self::Ssd => Some([blocks, 0, 0]),
            Self::Sas => Some([0, blocks, 0]),
            Self::NlSas => Some([0, 0, blocks]),
            Self::Mix => Some([blocks / 2, blocks - blocks / 2, 0]),
            Self::Untold => None,
        }
    }
}

/// One iSCSI portal (an Ethernet port with its address).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalConfig {
    /// Address and TCP port on which the target listens.
    pub address: SocketAddr,
    /// Port number in the vendor's numbering, part of the portal's own target name (20200 for example).
    pub port_no: u32,
    /// Target portal group tag (RFC 7143 section 4.1, 1..=65535), which is the target port group id (ALUA) as well. The
    /// portals of one tag belong to one controller.
    pub tpgt: u16,
    /// Controller that the port is on, from 0, at most 7.
    pub controller: u8,
}

/// Upper bounds. Management input is hostile: everything that it can make grow has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// LUNs and snapshots together.
    pub devices: usize,
    /// Objects of each other kind (hosts, groups, views, initiators, copies).
    pub objects: usize,
    /// vStores beside the array's own.
    pub vstores: usize,
    /// Largest LUN, in blocks of 512 bytes.
    pub lun_blocks: u64,
    /// Linked clones of one LUN or snapshot.
    pub clones: usize,
    /// Longest chain of parent links in the store.
    pub chain: u32,
    /// Largest host LUN id.
    pub host_lun_id: u16,
    /// Longest name in bytes (the dialect needs at least 31, and older products take no more, whatever stands here).
    pub name_bytes: usize,
    /// Longest description in bytes.
    pub description_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            devices: 131_072,
            objects: 8_192,
            vstores: 256,
            lun_blocks: 64 << 31, // 64 TiB
            clones: 65_536,
            chain: 256,
            host_lun_id: 511,
            name_bytes: 255,
            description_bytes: 1_024,
        }
    }
}
