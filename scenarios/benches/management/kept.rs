//! Twenty clients at an array that keeps everything on disk: they share its commits.

use std::io;
use std::thread;
use std::time::Instant;

use crate::client::Client;
use crate::server::Server;

const CLIENTS: u32 = 20;
/// LUNs that each client makes, renames and deletes.
const EACH: u32 = 150;

/// What a metric of the array says.
fn metric(client: &mut Client, name: &str) -> io::Result<u64> {
    client.page("/metrics")?;
    let name = format!("sanbench_array_{name}_total ");
    let value = client.last().lines().find_map(|line| line.strip_prefix(&name)).and_then(|n| n.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("no {name}in the metrics")))
}

/// Mutations a second, and how many of them share a commit.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the wall clock, with threads for its clients"
)]
pub(crate) fn kept() -> io::Result<()> {
    println!("\nkept on disk (--data), {CLIENTS} clients at once:");
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("array").display().to_string();
    let server = Server::start(&["--data", &data])?;
    let mut watcher = Client::login(&server)?;
    let names = ["commits", "promises_kept", "commit_microseconds"];
    let before =
        [metric(&mut watcher, names[0])?, metric(&mut watcher, names[1])?, metric(&mut watcher, names[2])?];
    let (cpu, begun) = (server.cpu()?, Instant::now());
    let done: io::Result<()> = thread::scope(|scope| {
        let server = &server;
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || work(server, client))).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| io::Error::other("a client panicked"))?)
    });
    done?;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), (server.cpu()? - cpu).as_secs_f64());
    let mut since =
        |n: usize| -> io::Result<f64> { Ok((metric(&mut watcher, names[n])? - before[n]) as f64) };
    let (commits, promises, busy) = (since(0)?, since(1)?, since(2)?);
    let calls = f64::from(CLIENTS * EACH * 3);
    println!(
        "  POST, PUT and DELETE lun: {:.0} /s seen, {:.0} per second of its processor",
        calls / wall,
        calls / cpu
    );
    println!(
        "  {commits:.0} commits of one fsync each, {:.1} mutations a commit, {:.2} ms a commit",
        promises / commits.max(1.0),
        busy / commits.max(1.0) / 1e3
    );
    // Reads do not wait for commits.
    let (cpu, begun) = (server.cpu()?, Instant::now());
    for _ in 0..5000 {
        watcher.get("storagepool")?;
    }
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), (server.cpu()? - cpu).as_secs_f64());
    println!(
        "  GET storagepool: {:.0} /s seen, {:.0} per second of its processor",
        5e3 / wall,
        5e3 / cpu.max(0.01)
    );
    Ok(())
}

fn work(server: &Server, client: u32) -> io::Result<()> {
    let mut c = Client::login(server)?;
    for n in 0..EACH {
        let body = format!(r#"{{"NAME":"k{client}-{n}","PARENTID":"0","CAPACITY":2097152,"ALLOCTYPE":1}}"#);
        let id = c.make("lun", &body)?;
        c.ok("PUT", &format!("lun/{id}"), &format!(r#"{{"NAME":"r{client}-{n}"}}"#))?;
        c.ok("DELETE", &format!("lun/{id}"), "")?;
    }
    Ok(())
}
