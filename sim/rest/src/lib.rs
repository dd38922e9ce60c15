//! The management API of the simulated array in the OceanStor dialect.
