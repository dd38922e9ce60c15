//! To be written.

use super::cases;

cases! {}
