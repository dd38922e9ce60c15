//! How fast the target and the initiator are: `cargo bench -p sanbench --bench transport`.
//!
//! Every figure stands beside the same measurement of a peer in the same minute, because machines and their neighbours
//! differ: Debian's tgt (found in the search path, or named by SANBENCH_TGTD; needs root) and libiscsi's `iscsi-perf`. Without
//! a peer its column is empty, and the reason is told. Prints figures, decides nothing.
//!
//! Targets run on processor 0, clients on processor 1, when `taskset` is there (start the bench itself under
//! `taskset -c 1`). SANBENCH_BENCH_SECONDS and SANBENCH_BENCH_ROUNDS change the length of a measurement (1) and how many of
//! each there are (3; the median is shown).

mod initiator;
mod peers;
mod raw;
mod serve;

use std::process::ExitCode;

use peers::{Target, clock, pause, processor, resident};
use raw::{Load, Session};
use serve::Plan;

/// Blocks that differ in size live long; an allocator that keeps them apart reaches them with fewer cache misses.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Size of the LUN, MiB.
const MEBIBYTES: u64 = 512;
const WARM_UP: f64 = 0.3;
/// Sessions of the crowd, and the hosts they come from.
const CROWD: usize = 1000;
const HOSTS: u64 = 100;
/// LUNs of each host, so that there are 10,000.
const LUNS: u64 = 100;

struct Row {
    name: &'static str,
    sessions: usize,
    load: Load,
}

fn rows() -> Vec<Row> {
    let span = MEBIBYTES << 20;
    let small = |write, depth| Load { write, bytes: 4096, depth, sequential: false, span };
    let large = |write| Load { write, bytes: 256 * 1024, depth: 32, sequential: true, span };
    vec![
        Row { name: "4 KiB random read, depth 32", sessions: 1, load: small(false, 32) },
        Row { name: "4 KiB random write, depth 32", sessions: 1, load: small(true, 32) },
        Row { name: "4 KiB random read, 4 sessions of depth 8", sessions: 4, load: small(false, 8) },
        Row { name: "4 KiB random read, depth 1", sessions: 1, load: small(false, 1) },
        Row { name: "4 KiB random write, depth 1", sessions: 1, load: small(true, 1) },
        Row { name: "256 KiB sequential read, depth 32", sessions: 1, load: large(false) },
        Row { name: "256 KiB sequential write, depth 32", sessions: 1, load: large(true) },
    ]
}

/// Commands a second, and processor seconds of the target per million commands.
type Figure = (f64, f64);

fn measure(target: &Target, row: &Row, seconds: f64) -> std::io::Result<Figure> {
    let mut sessions = (0..row.sessions)
        .map(|n| Session::log_in(&target.url, "iqn.2020-01.example.bench:raw", n as u16))
        .collect::<std::io::Result<Vec<_>>>()?;
    let mut before = 0.0;
    let (done, took) = raw::run(&mut sessions, row.load, WARM_UP, seconds, &mut || {
        before = processor(target.pid());
    })?;
    Ok((done as f64 / took, (processor(target.pid()) - before) / done as f64 * 1e6))
}

fn median(mut figures: Vec<Figure>) -> Option<Figure> {
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    figures.get(figures.len() / 2).copied()
}

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).filter(|n| *n > 0.0).unwrap_or(default)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = if arguments.first().is_some_and(|first| first == "serve") {
        let number = |at: usize| arguments.get(at).and_then(|n| n.parse().ok()).unwrap_or(0);
        serve::serve_here(Plan { mebibytes: number(1), hosts: number(2), luns: number(3) })
            .map_err(|e| e.to_string())
    } else if arguments.first().is_some_and(|first| first == "simulated") {
        // Alone, for a profiler.
        simulated(10)
    } else {
        bench()
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<(), String> {
    let seconds = setting("SANBENCH_BENCH_SECONDS", 1.0);
    let rounds = setting("SANBENCH_BENCH_ROUNDS", 3.0) as usize;
    let own = serve::start("sanbench", Plan { mebibytes: MEBIBYTES, hosts: 0, luns: 0 })?;
    let peer = peers::tgt(MEBIBYTES).map_err(|why| println!("no figures of tgt: {why}")).ok();
    let targets: Vec<&Target> = std::iter::once(&own).chain(&peer).collect();
    fill(&targets)?;
    println!(
        "target, batched raw load                    sanbench IOPS  CPU s/M      tgt IOPS  CPU s/M   ratio"
    );
    for row in rows() {
        let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); targets.len()];
        for _ in 0..rounds {
            for (target, figures) in targets.iter().zip(&mut figures) {
                let figure = measure(target, &row, seconds);
                figures.push(figure.map_err(|e| format!("{}, {}: {e}", target.name, row.name))?);
            }
        }
        let mut medians = figures.into_iter().map(median);
        let Some((rate, cpu)) = medians.next().flatten() else { continue };
        let beside = match medians.next().flatten() {
            Some((other, spent)) => format!("{other:>12.0} {spent:>8.2}  {:>5.2}x", rate / other),
            None => format!("{:>12} {:>8}  {:>6}", "-", "-", "-"),
        };
        println!("{:<42} {rate:>14.0} {cpu:>8.2}  {beside}", row.name);
    }
    idle(&own);
    initiators(&own, rounds, seconds)?;
    drop(peer);
    drop(own);
    crowd(rounds, seconds)?;
    simulated(rounds)
}

fn simulated(rounds: usize) -> Result<(), String> {
    let mut rates = Vec::new();
    for _ in 0..rounds {
        rates.push((initiator::simulated(100_000)?, 0.0));
    }
    let (rate, _) = median(rates).unwrap_or_default();
    println!("initiator and target in one simulated world, 4 KiB reads, depth 1: {rate:.0} round trips/s");
    Ok(())
}

/// Writes every block once, so that no target answers from holes.
fn fill(targets: &[&Target]) -> Result<(), String> {
    let span = MEBIBYTES << 20;
    let load = Load { write: true, bytes: 256 * 1024, depth: 16, sequential: true, span };
    for target in targets {
        let fail = |e| format!("{}: {e}", target.name);
        let session = Session::log_in(&target.url, "iqn.2020-01.example.bench:fill", 0).map_err(fail)?;
        let mut sessions = [session];
        let (mut done, mut rounds) = (0, 0);
        while done * u64::from(load.bytes) < span && rounds < 20 {
            done += raw::run(&mut sessions, load, 0.0, 0.3, &mut || {}).map_err(fail)?.0;
            rounds += 1;
        }
    }
    Ok(())
}

/// What the target costs when nobody asks for anything.
fn idle(target: &Target) {
    pause(1.0);
    let (before, from) = (processor(target.pid()), clock());
    pause(2.0);
    let share = (processor(target.pid()) - before) / (clock() - from);
    println!("target, after 1 s of idleness: {:.2} % of a processor", share * 100.0);
}

fn initiators(target: &Target, rounds: usize, seconds: f64) -> Result<(), String> {
    let span = MEBIBYTES << 20;
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        own.push(initiator::over_tcp(&target.url, 32, span, seconds)?);
        match peers::libiscsi(&target.url, 32) {
            Ok(figure) => peer.push(figure),
            Err(why) => {
                println!("no figures of libiscsi: {why}");
                break;
            }
        }
    }
    let (rate, cpu) = median(own).unwrap_or_default();
    println!("our initiator, 4 KiB random read, depth 32: {rate:.0} IOPS, {cpu:.2} CPU s/M of the client");
    if let Some((other, spent)) = median(peer) {
        println!(
            "libiscsi's iscsi-perf, the same:            {other:.0} IOPS, {spent:.2} CPU s/M; ours {:.2}x, CPU {:.2}x",
            rate / other,
            cpu / spent
        );
    }
    Ok(())
}

/// 1,000 sessions and 10,000 LUNs on one target: what a command costs there, and what an idle session holds.
fn crowd(rounds: usize, seconds: f64) -> Result<(), String> {
    let target = serve::start("sanbench", Plan { mebibytes: MEBIBYTES, hosts: HOSTS, luns: LUNS })?;
    let fail = |e: std::io::Error| format!("the crowd: {e}");
    let span = 1 << 20;
    let load = |depth| Load { write: false, bytes: 4096, depth, sequential: false, span };
    let log_in = |n: usize| {
        let mut url = target.url.clone();
        url.lun = 1 + (n % LUNS as usize) as u16;
        Session::log_in(&url, &serve::host_name(n as u64 % HOSTS), n as u16)
    };
    let cost = |sessions: &mut [Session], depth| -> Result<f64, String> {
        let mut figures = Vec::new();
        for _ in 0..rounds {
            let mut before = 0.0;
            let mut mark = || before = processor(target.pid());
            let (done, _) = raw::run(sessions, load(depth), WARM_UP, seconds, &mut mark).map_err(fail)?;
            figures.push(((processor(target.pid()) - before) / done as f64 * 1e6, 0.0));
        }
        Ok(median(figures).unwrap_or_default().0)
    };
    let held = resident(target.pid());
    let mut sessions = Vec::new();
    for n in 0..CROWD {
        sessions.push(log_in(n).map_err(fail)?);
    }
    let each = resident(target.pid()).saturating_sub(held) / CROWD as u64;
    println!(
        "{CROWD} sessions, {} LUNs: {:.1} KiB for each idle session",
        HOSTS * LUNS,
        each as f64 / 1024.0
    );
    // At depth 1 nothing can be batched, neither alone nor in the crowd.
    let one = cost(&mut sessions[..1], 1)?;
    let all = cost(&mut sessions, 1)?;
    let deep = cost(&mut sessions[..1], 32)?;
    let all_deep = cost(&mut sessions, 8)?;
    println!(
        "CPU s/M of the target: one session {one:.2} (depth 1), {deep:.2} (depth 32); all at once {all:.2} (depth 1, {:.2}x), \
         {all_deep:.2} (depth 8)",
        all / one
    );
    Ok(())
}
