//! Driver of the Tengling IP SAN: OceanStor-dialect REST.
