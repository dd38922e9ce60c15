//! Every story and requirement, and generated plans, as tests of this driver. `SANBENCH_PROFILE=array.toml cargo test` judges
//! the array that the profile names.

// One case of each story is enough here, where the Tengling driver does the work: that one is judged with the usual three.
sanbench::conformance_tests!(sanbench_example::registry, cases = 1);
