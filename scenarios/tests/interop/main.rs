//! Foreign eyes: other people's programs look at what the bench makes, and the bench looks at what theirs make.
//!
//! | module | who looks at what |
//! |---|---|
//! | `libiscsi` | libiscsi's tools at the served array |
//! | `test_cu` | libiscsi's conformance suite at the target, two portals |
//! | `qemu` | QEMU writes to and reads from the served array |
//! | `boot_image` | a bootable Debian image through the whole flow, read back by QEMU |
//! | `readers` | the in-process image reader beside `qemu-img` |
//! | `captures` | Wireshark at captures, beside a count of our own (`pdus`) |
//! | `tgt` | our initiator at Debian's `tgt` |
//! | `cinder` | the unmodified Cinder driver for Huawei arrays at the served array; our initiator at what it answers |
//! | `delfin` | a storage monitor that knows OceanStor, unmodified, at the served array |
//! | `html` | a browser at the report |
//! | `management` | curl, a fuzzer, a reader of metrics and a browser at the management port |
//!
//! A test whose foreign program is absent is reported *ignored, because X is missing*; with `SANBENCH_INTEROP=require` it
//! fails instead. Every child process has a time limit and dies with its test; ports are free ones; files are in temporary
//! folders.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]
#![allow(
    clippy::disallowed_methods,
    reason = "foreign programs live on the wall clock, and so do these tests"
)]

mod boot_image;
mod captures;
mod cinder;
mod delfin;
mod html;
mod libiscsi;
mod live;
mod management;
mod pdus;
mod qemu;
mod readers;
mod serve;
mod test_cu;
mod tgt;
mod tools;

use std::process::ExitCode;

/// Tests at once: most of the time they wait for a foreign program, which waits for a clock.
const AT_ONCE: usize = 6;

fn main() -> ExitCode {
    let mut args = libtest_mimic::Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    // A listing fetches nothing.
    let foreign = tools::Foreign::look(!args.list);
    let mut trials = Vec::new();
    libiscsi::trials(&foreign, &mut trials);
    test_cu::trials(&foreign, &mut trials);
    qemu::trials(&foreign, &mut trials);
    boot_image::trials(&foreign, &mut trials);
    readers::trials(&foreign, &mut trials);
    captures::trials(&foreign, &mut trials);
    tgt::trials(&foreign, &mut trials);
    cinder::trials(&foreign, &mut trials);
    delfin::trials(&foreign, &mut trials);
    html::trials(&foreign, &mut trials);
    management::trials(&foreign, &mut trials);
    libtest_mimic::run(&args, trials).exit_code()
}
