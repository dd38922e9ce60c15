//! Planted defects: values at construction, off unless a test turns them on.

/// Faults that this driver can be told to have, so that the bench can prove that it would see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DriverDefects {
    /// A create or clone that fails after its LUN was made leaves the LUN behind (catalogue D01).
    pub lun_left_after_failed_create: bool,
    /// Clones are never flattened for depth, so chains grow without limit (catalogue D16).
    pub no_depth_limit: bool,
    /// A LUN of the wanted name is adopted and deleted without asking whose it is (catalogue D02).
    pub adopt_foreign: bool,
}
