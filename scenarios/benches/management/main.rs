//! How many management calls a second one core answers, and how the array behaves when it is full:
//! `cargo bench -p sanbench --bench management [-- rates|scale|kept]`.
//!
//! The array is a process of its own (`sanbench array serve`, one thread), so that a rate for each second of *its*
//! processor time can be told beside the rate that the clients saw. Floors, in memory and without TLS: 10,000 reads and
//! 2,000 mutations a second on one core. Prints rates, decides nothing: machines differ.

mod client;
mod kept;
mod server;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::Client;
use server::Server;

/// LUNs, snapshots and hosts of a full array.
const LUNS: u32 = 65_536;
const SNAPSHOTS: u32 = 10_000;
const HOSTS: u32 = 2_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let done = (|| {
        if wanted("rates") {
            rates()?;
        }
        if wanted("scale") {
            scale()?;
        }
        if wanted("kept") {
            kept::kept()?;
        }
        Ok::<(), io::Error>(())
    })();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does `n` calls; prints how many a second the client saw and how many a second of processor time they cost the array.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn rate(server: &Server, what: &str, n: u32, mut call: impl FnMut(u32) -> io::Result<()>) -> io::Result<()> {
    let (cpu, begun) = (server.cpu()?, Instant::now());
    for at in 0..n {
        call(at)?;
    }
    let (wall, cpu) = (begun.elapsed(), server.cpu()? - cpu);
    println!(
        "  {what:<44} {:>8.0} /s seen, {:>8.0} per second of the array's processor",
        f64::from(n) / wall.as_secs_f64(),
        f64::from(n) / cpu.as_secs_f64().max(0.01)
    );
    Ok(())
}

/// Small array: what a call costs.
fn rates() -> io::Result<()> {
    const N: u32 = 10_000;
    println!("management calls, one client on one connection, in memory, without TLS:");
    let server = Server::start(&[])?;
    let mut c = Client::login(&server)?;
    let host = c.make("host", r#"{"NAME":"h"}"#)?;
    let [host_group, lun_group, view] = ["hostgroup", "lungroup", "mappingview"]
        .map(|kind| c.make(kind, &format!(r#"{{"NAME":"{kind}"}}"#)).unwrap_or_default());
    let member = format!(r#"{{"ID":"{host_group}","ASSOCIATEOBJTYPE":"21","ASSOCIATEOBJID":"{host}"}}"#);
    c.ok("POST", "hostgroup/associate", &member)?;
    for (kind, group) in [("14", &host_group), ("256", &lun_group)] {
        let body = format!(r#"{{"ID":"{view}","ASSOCIATEOBJTYPE":"{kind}","ASSOCIATEOBJID":"{group}"}}"#);
        c.ok("PUT", "mappingview/create_associate", &body)?;
    }
    let mut ids = Vec::new();
    rate(&server, "POST lun", N, |n| {
        ids.push(c.make("lun", &lun(n))?);
        Ok(())
    })?;
    rate(&server, "GET lun/<id>", N, |n| c.get(&format!("lun/{}", ids[n as usize])))?;
    rate(&server, "GET lun?filter=NAME::", N, |n| c.get(&format!("lun?filter=NAME::v{n}")))?;
    rate(&server, "GET storagepool", N, |_| c.get("storagepool"))?;
    rate(&server, "GET system/", N, |_| c.get("system/"))?;
    rate(&server, "PUT lun/<id> (rename)", N, |n| {
        c.ok("PUT", &format!("lun/{}", ids[n as usize]), &format!(r#"{{"NAME":"w{n}"}}"#))
    })?;
    // A host has 511 LUN numbers.
    let mapped = N.min(500);
    let mapping =
        |id: &str| format!(r#"{{"ID":"{lun_group}","ASSOCIATEOBJTYPE":"11","ASSOCIATEOBJID":"{id}"}}"#);
    rate(&server, "POST lungroup/associate (map)", mapped, |n| {
        c.ok("POST", "lungroup/associate", &mapping(&ids[n as usize]))
    })?;
    rate(&server, "GET lun/associate, one LUN of a mapped host", mapped, |n| {
        c.get(&format!("lun/associate?ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}&filter=NAME::w{n}"))
    })?;
    rate(&server, "DELETE lungroup/associate (unmap)", mapped, |n| {
        let id = &ids[n as usize];
        c.ok(
            "DELETE",
            &format!("lungroup/associate?ID={lun_group}&ASSOCIATEOBJTYPE=11&ASSOCIATEOBJID={id}"),
            "",
        )
    })?;
    rate(&server, "DELETE lun/<id>", N, |n| c.ok("DELETE", &format!("lun/{}", ids[n as usize]), ""))
}

/// Full array: what size costs.
fn scale() -> io::Result<()> {
    println!("\na full array:");
    let server = Server::start(&["--pool", "pool0=1024TiB"])?;
    let mut c = Client::login(&server)?;
    let empty = server.resident()?;
    let mut first = String::new();
    let mut before = empty;
    let mut grown = |server: &Server, what: &str, n: u32| -> io::Result<()> {
        let now = server.resident()?;
        let bytes = now.saturating_sub(before) / u64::from(n);
        println!("  {what:<44} {bytes:>8} bytes of memory each");
        before = now;
        Ok(())
    };
    rate(&server, &format!("POST lun, {LUNS} of them"), LUNS, |n| {
        let id = c.make("lun", &lun(n))?;
        if n == 0 {
            first = id;
        }
        Ok(())
    })?;
    grown(&server, "LUN", LUNS)?;
    let base: u64 = first.parse().map_err(io::Error::other)?;
    rate(&server, &format!("POST snapshot, {SNAPSHOTS} of them"), SNAPSHOTS, |n| {
        c.make("snapshot", &format!(r#"{{"NAME":"s{n}","PARENTID":"{}"}}"#, base + u64::from(n % LUNS)))
            .map(drop)
    })?;
    grown(&server, "snapshot", SNAPSHOTS)?;
    rate(&server, &format!("POST host + initiator, {HOSTS} of them"), HOSTS, |n| {
        let host = c.make("host", &format!(r#"{{"NAME":"h{n}"}}"#))?;
        c.ok("POST", "iscsi_initiator", &format!(r#"{{"ID":"iqn.2026-01.org.example:h{n}"}}"#))?;
        c.ok(
            "PUT",
            &format!("iscsi_initiator/iqn.2026-01.org.example:h{n}"),
            &format!(r#"{{"PARENTTYPE":"21","PARENTID":"{host}"}}"#),
        )
    })?;
    grown(&server, "host with its initiator", HOSTS)?;
    rate(&server, "GET lun?filter=NAME::", 5000, |n| c.get(&format!("lun?filter=NAME::v{}", n * 13 % LUNS)))?;
    rate(&server, "GET lun?filter=ID::", 5000, |n| {
        c.get(&format!("lun?filter=ID::{}", base + u64::from(n * 13 % LUNS)))
    })?;
    rate(&server, "GET lun/<id>", 5000, |n| c.get(&format!("lun/{}", base + u64::from(n * 13 % LUNS))))?;
    rate(&server, "GET lun/count", 5000, |_| c.get("lun/count"))?;
    rate(&server, "GET iscsi_initiator?PARENTID=", 1000, |n| {
        c.get(&format!("iscsi_initiator?PARENTID={n}"))
    })?;
    rate(&server, "POST lun + DELETE lun/<id>", 2000, |n| {
        let id = c.make("lun", &lun(LUNS + n))?;
        c.ok("DELETE", &format!("lun/{id}"), "")
    })
    .or_else(|error| {
        println!("  (a further LUN is refused: {error})");
        Ok::<(), io::Error>(())
    })?;
    latency("GET lun, first page of 100", 200, || c.get("lun?range=[0-100]"))?;
    latency("GET lun, last page of 100", 200, || c.get("lun?range=[65400-65500]"))?;
    latency("GET snapshot, page of 100 in the middle", 200, || c.get("snapshot?range=[5000-5100]"))?;
    latency("GET lun?filter=DESCRIPTION:, matching none", 5, || c.get("lun?filter=DESCRIPTION:nothing"))?;
    latency("GET lun, all of them", 3, || c.get("lun"))?;
    latency("GET / (status page)", 20, || c.page("/"))?;
    latency("GET /metrics", 20, || c.page("/metrics"))?;
    println!(
        "  memory: {} MiB empty, {} MiB full, {} MiB at most",
        empty >> 20,
        server.resident()? >> 20,
        server.peak()? >> 20
    );
    Ok(())
}

/// Times single calls.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn latency(what: &str, n: u32, mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..n {
        let begun = Instant::now();
        call()?;
        times.push(begun.elapsed());
    }
    times.sort();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    println!(
        "  {what:<44} {:>8.2} ms least, {:.2} ms median, {:.2} ms most",
        ms(&times[0]),
        ms(&times[times.len() / 2]),
        ms(&times[times.len() - 1])
    );
    Ok(())
}

/// The body that makes a LUN of 1 GiB.
fn lun(n: u32) -> String {
    format!(r#"{{"NAME":"v{n}","PARENTID":"0","CAPACITY":2097152,"ALLOCTYPE":1,"DESCRIPTION":"volume-{n}"}}"#)
}
