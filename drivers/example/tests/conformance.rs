//! Every story and requirement, and generated plans, as tests of this driver. `SANBENCH_PROFILE=array.toml cargo test` judges
//! the array that the profile names.

sanbench::conformance_tests!(sanbench_example::registry);
