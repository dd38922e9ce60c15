//! Runs every case without CHAP against one unit of any target, and prints how each ended:
//! `probe ADDRESS:PORT TARGET-NAME LUN BLOCKS`. Everything on that unit may be overwritten.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use sanbench_protocol::{CHAPTERS, Host, Lab, Path, Setup, Verdict, run_case};
use sanbench_world::{LiveConfig, LiveWorld};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match words.as_slice() {
        [portal, target, lun, blocks] => portal
            .parse::<SocketAddr>()
            .ok()
            .zip(lun.parse().ok())
            .zip(blocks.parse().ok())
            .map(|p| (p, target.clone())),
        _ => None,
    };
    let Some((((portal, lun), blocks), target)) = parsed else {
        eprintln!("probe ADDRESS:PORT TARGET-NAME LUN BLOCKS");
        return ExitCode::from(64);
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(4);
    };
    let failed = runtime.block_on(async {
        let config = LiveConfig {
            seed: 1,
            trace: false,
            state_dir: std::env::temp_dir(),
            faults: Default::default(),
            capture: false,
        };
        let world = LiveWorld::new(config).ok()?;
        let host = |name: &str| Host {
            env: world.node(name, &[]),
            from: None,
            initiator: format!("iqn.2026-11.org.sanbench:{name}"),
            chap: None,
            paths: vec![Path { portal, target: target.clone() }],
            lun,
        };
        let lab = Lab::new(Setup {
            hosts: vec![host("one"), host("two")],
            blocks,
            hidden: None,
            window: None,
            grow: None,
            patience: Duration::from_millis(1500),
            quiet: Duration::from_millis(100),
            limit: Duration::from_secs(20),
        });
        let env = world.node("probe", &[]);
        let mut failed = 0;
        for case in CHAPTERS.iter().filter(|c| !c.chap).flat_map(|c| c.cases) {
            // A target that ended under the last case may be under supervision and come back.
            for _ in 0..40 {
                if env.connect(portal).await.is_ok() {
                    break;
                }
                env.sleep(Duration::from_millis(250)).await;
            }
            let done = run_case(&lab, case).await;
            match done.verdict {
                Verdict::Passed => println!("passed         {}", case.name),
                Verdict::NotApplicable(why) => println!("not applicable {}: {why}", case.name),
                Verdict::Unknown(why) => println!("undecided      {}: {why}", case.name),
                Verdict::Failed(failures) => {
                    failed += 1;
                    for failure in failures.iter().take(2) {
                        println!(
                            "failed         {} [{}]: {failure}",
                            case.name,
                            failure.requirement.unwrap_or("?")
                        );
                    }
                    if let Some(first) = failures.first().filter(|_| std::env::var_os("TRACE").is_some()) {
                        first.trace.iter().for_each(|line| println!("    {line}"));
                    }
                }
            }
        }
        Some(failed)
    });
    match failed {
        Some(0) => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(1),
        None => ExitCode::from(4),
    }
}
