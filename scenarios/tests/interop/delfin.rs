//! A storage monitor that knows this dialect, unmodified, at a served array: Delfin (SODA Foundation) reads everything that
//! an array has, pool by pool and view by view, and what it makes of that has to be what is there. It knows the dialect
//! from the vendor's documents, as its driver was written for real arrays.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use sanbench_api::{VolumeDriver, VolumeId, VolumeRef};
use sanbench_tengling::{TenglingConfig, TenglingDriver};
use serde_json::{Value, json};

use super::live::{HERE, block_on, foreign, world};
use super::serve::Serve;
use super::tools::{Checked, Foreign, Running, ensure};

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    for (name, product) in
        [("delfin::reads_the_old_line", "V500R007C61"), ("delfin::reads_the_new_line", "V600R003C00")]
    {
        let (python, missing) = (foreign.python.clone().unwrap_or_default(), foreign.python.clone().err());
        all.push(foreign.trial_with(name, missing, foreign.require(), move || reads(&python, product)));
    }
}

/// What every call of the driver answers.
fn look(python: &Path, dir: &Path, array: &Serve) -> Result<Value, Failed> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/clients/delfin_driver.py");
    let log: PathBuf = dir.join("delfin.log");
    let mut command = Command::new(python);
    command.arg(script).current_dir(dir);
    let errors = std::fs::File::create(&log)?;
    let mut process =
        Running::start_asking(&mut command, 200, Stdio::piped(), Stdio::piped(), errors.into())?;
    let ask = json!({"url": array.rest(), "user": "admin", "password": array.password()});
    writeln!(process.child.stdin.take().ok_or("no stdin")?, "{ask}")?;
    let out = std::io::read_to_string(process.child.stdout.take().ok_or("no stdout")?)?;
    serde_json::from_str(&out).map_err(|e| {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        format!("{out:?}: {e}\n{log}").into()
    })
}

fn reads(python: &Path, product: &str) -> Checked {
    let dir = tempfile::tempdir()?;
    let array = Serve::start(&["--product", product, "--pool", "pool0=20GiB", "--pool", "pool1=30GiB"])?;
    let options = array.options().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    block_on(async {
        let (config, _) = TenglingConfig::from_options(&options).map_err(|e| e.to_string())?;
        let driver = TenglingDriver::new(world(dir.path()).node("control", &[HERE]), config);
        driver.do_setup().await?;
        for n in 1..=3 {
            let id = VolumeId::from_random([n; 16]);
            let mut volume = VolumeRef {
                id,
                name_id: id,
                size_gib: u64::from(n),
                pool: "pool1".to_owned(),
                extra_specs: Default::default(),
                use_quota: true,
                provider_id: None,
                provider_location: None,
            };
            volume.provider_location = driver.create_volume(&volume).await?.provider_location;
            if n > 1 {
                driver.initialize_connection(&volume, &foreign("monitored")).await?;
            }
        }
        driver.shutdown().await;
        Ok::<_, Failed>(())
    })?;
    let all = look(python, dir.path(), &array)?;
    let get = |call: &str| -> Result<&Value, Failed> {
        all[call].get("ok").ok_or_else(|| format!("{call}: {}", all[call]["error"]).into())
    };
    let list = |call: &str| -> Result<&Vec<Value>, Failed> {
        get(call)?.as_array().ok_or_else(|| format!("{call} answers no list").into())
    };
    let count = |call: &str, wanted: usize| -> Checked {
        let found = list(call)?;
        ensure!(found.len() == wanted, "{call}: {} in place of {wanted}: {found:?}", found.len());
        Ok(())
    };

    let storage = get("get_storage")?;
    ensure!(storage["status"] == "normal", "the array is {}", storage["status"]);
    ensure!(storage["firmware_version"] == product, "firmware {}", storage["firmware_version"]);
    ensure!(storage["total_capacity"] == 50u64 << 30, "{} bytes in all", storage["total_capacity"]);
    let pools = list("list_storage_pools")?;
    let sizes: Vec<(&str, u64)> = pools
        .iter()
        .map(|p| (p["name"].as_str().unwrap_or_default(), p["total_capacity"].as_u64().unwrap_or_default()))
        .collect();
    ensure!(sizes == [("pool0", 20 << 30), ("pool1", 30 << 30)], "pools {sizes:?}");

    // Three thin volumes in the second pool, and a world-wide name for each.
    let volumes = list("list_volumes")?;
    let mut sizes: Vec<u64> = volumes.iter().filter_map(|v| v["total_capacity"].as_u64()).collect();
    sizes.sort_unstable();
    ensure!(sizes == [1 << 30, 2 << 30, 3 << 30], "volumes of {sizes:?}");
    for volume in volumes {
        ensure!(volume["native_storage_pool_id"] == pools[1]["native_storage_pool_id"], "{volume}");
        ensure!(volume["status"] == "available" && volume["type"] == "thin", "{volume}");
        ensure!(volume["wwn"].as_str().is_some_and(|wwn| wwn.len() == 32), "{volume}");
    }

    // One host, found through its groups, sees two of them.
    count("list_storage_hosts", 1)?;
    let host = &list("list_storage_hosts")?[0]["native_storage_host_id"];
    count("list_storage_host_initiators", 1)?;
    let initiator = &list("list_storage_host_initiators")?[0];
    ensure!(initiator["wwn"] == "iqn.2026-11.org.example:monitored", "{initiator}");
    ensure!(initiator["native_storage_host_id"] == *host, "{initiator} of {host}");
    count("list_storage_host_groups", 1)?;
    let group = &list("list_storage_host_groups")?[0];
    ensure!(group["storage_hosts"] == *host, "{group}");
    count("list_volume_groups", 1)?;
    let luns = &list("list_volume_groups")?[0];
    let members = luns["volumes"].as_str().unwrap_or_default().split(',').count();
    ensure!(members == 2, "{luns}");
    count("list_masking_views", 1)?;
    let view = &list("list_masking_views")?[0];
    ensure!(
        view["native_storage_host_group_id"] == group["native_storage_host_group_id"]
            && view["native_volume_group_id"] == luns["native_volume_group_id"],
        "{view}"
    );
    count("list_port_groups", 1)?;
    let ports = &list("list_port_groups")?[0];
    ensure!(ports["name"] == "pg0", "{ports}");
    ensure!(ports["ports"].as_str().is_some_and(|ports| ports.split(',').count() == 2), "{ports}");
    count("list_ports", 2)?;
    for port in list("list_ports")? {
        ensure!(port["ipv4"] == "127.0.0.1" && port["connection_status"] == "connected", "{port}");
    }
    count("list_controllers", 2)?;
    count("list_disks", 2)?;
    // Block storage alone, and nothing is wrong with it.
    for call in ["list_filesystems", "list_qtrees", "list_quotas", "list_shares", "list_alerts"] {
        count(call, 0)?;
    }
    Ok(())
}
