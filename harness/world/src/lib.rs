//! Time, chance, network, disks and processes, simulated or live.
