//! Every planted defect of the connector has a test that it turns red, and that no other switch does, except where named.

use std::pin::Pin;
use std::time::Duration;

use crate::fake::*;
use sanbench_api::{Connector, ConnectorError};
use sanbench_initiator::config::ConnectorDefects;
use sanbench_initiator::host::UeventPlan;
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_wire::pdu::LoginStatus;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::{SimConfig, SimWorld};

type Seen = Result<(), String>;
type Test = fn(Site, HostConfig) -> Pin<Box<dyn Future<Output = Seen>>>;

fn ensure(right: bool, what: &str) -> Seen {
    if right { Ok(()) } else { Err(what.to_owned()) }
}

fn text(error: ConnectorError) -> String {
    error.to_string()
}

/// The switch, the test, and other switches that break what the test needs.
const TESTS: &[(&str, Test, &[&str])] = &[
    ("overtake_on_failover", |s, c| Box::pin(d29(s, c)), &[]),
    ("fresh_isid", |s, c| Box::pin(d35(s, c)), &[]),
    ("skip_wwn_check", |s, c| Box::pin(d36(s, c)), &["first_device_of_session"]),
    ("first_device_of_session", |s, c| Box::pin(d37(s, c)), &[]),
    ("disconnect_by_lun", |s, c| Box::pin(d38(s, c)), &[]),
    ("trust_daemon_list", |s, c| Box::pin(d39(s, c)), &[]),
    ("first_session_only", |s, c| Box::pin(d40(s, c)), &[]),
    ("lost_portal_failure", |s, c| Box::pin(d41(s, c)), &[]),
    ("no_login_retry", |s, c| Box::pin(d42(s, c)), &[]),
    ("process_local_lock", |s, c| Box::pin(d43(s, c)), &["logout_shared_session"]),
    ("leave_devices_on_force", |s, c| Box::pin(d44(s, c)), &[]),
    ("extend_one_path_only", |s, c| Box::pin(d45(s, c)), &[]),
    ("skip_map_resize", |s, c| Box::pin(d46(s, c)), &[]),
    ("give_up_relogin", |s, c| Box::pin(d66(s, c)), &[]),
    ("logout_shared_session", |s, c| Box::pin(d67(s, c)), &[]),
    ("return_partition", |s, c| Box::pin(d68(s, c)), &[]),
    ("assume_unmap", |s, c| Box::pin(d71(s, c)), &[]),
    ("skip_flush_on_disconnect", |s, c| Box::pin(no_flush(s, c)), &[]),
    ("busy_is_failure", |s, c| Box::pin(busy(s, c)), &[]),
    ("attention_is_failure", |s, c| Box::pin(attention(s, c)), &[]),
    ("silence_is_absence", |s, c| Box::pin(silence(s, c)), &[]),
];

fn run(test: Test, defects: ConnectorDefects) -> Seen {
    SimWorld::run(SimConfig { seed: 2, ..SimConfig::default() }, |world| async move {
        let site = Site::new(world, [1, 1]).await;
        let config = HostConfig { defects, ..site.config() };
        test(site, config).await
    })
}

#[test]
fn each_switch_turns_its_own_test_red() {
    let mut wrong = Vec::new();
    for (name, test, also) in TESTS {
        if let Err(why) = run(*test, ConnectorDefects::default()) {
            wrong.push(format!("{name} without a defect: {why}"));
        }
        for (switch, ..) in ConnectorDefects::ALL {
            let mut defects = ConnectorDefects::default();
            assert!(defects.set(switch));
            let red = run(*test, defects);
            if red.is_ok() == (switch == name) && !also.contains(switch) {
                wrong.push(format!("the test of {name} under {switch}: {red:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let named: Vec<&str> = TESTS.iter().map(|t| t.0).collect();
    let all: Vec<&str> = ConnectorDefects::ALL.iter().map(|d| d.0).collect();
    assert_eq!(named, all);
    assert!(!ConnectorDefects::default().set("unknown"));
}

async fn d29(site: Site, config: HostConfig) -> Seen {
    site.fake.lock().answers = vec![("DefaultTime2Wait", "60")];
    let wwn = site.fake.volume(1, 1, 4096);
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A, B], 1, wwn)).await.map_err(text)?.device;
    site.world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1"));
    for n in 1..4 {
        device.write(0, pattern(256, n)).await.map_err(|e| e.to_string())?;
    }
    site.world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
    site.host.sleep(secs(100)).await;
    let data = device.read(0, 256).await.map_err(|e| e.to_string())?;
    ensure(data == pattern(256, 3), "old data came late")
}

async fn d35(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A], 1, wwn)).await.map_err(text)?.device;
    for _ in 0..2 {
        site.world.reset("host", "array");
        site.host.sleep(secs(5)).await;
        device.read(0, 1).await.map_err(|e| e.to_string())?;
    }
    let isids: std::collections::BTreeSet<[u8; 6]> = site.fake.lock().login_isids.iter().copied().collect();
    ensure(isids.len() == 1, "the host came back under another ISID")
}

async fn d36(site: Site, config: HostConfig) -> Seen {
    let (old, keep) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 3, 64));
    let connector = HostConnector::new(site.host.clone(), config);
    connector.connect_volume(&info(&[A], 2, keep)).await.map_err(text)?;
    connector.connect_volume(&info(&[A], 1, old)).await.map_err(text)?;
    let new = site.fake.volume(1, 2, 64);
    let attached = connector.connect_volume(&info(&[A], 1, new)).await.map_err(text)?;
    ensure(attached.wwn == new, "the stale device was taken")
}

async fn d37(site: Site, config: HostConfig) -> Seen {
    let (one, two) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 2, 64));
    let connector = HostConnector::new(site.host.clone(), config);
    connector.connect_volume(&info(&[A], 1, one)).await.map_err(text)?;
    let attached = connector.connect_volume(&info(&[A], 2, two)).await.map_err(text)?;
    ensure((attached.path.as_str(), attached.wwn) == ("/dev/sdb", two), "the path of another volume")
}

async fn d38(site: Site, config: HostConfig) -> Seen {
    let mine = site.fake.volume(1, 1, 64);
    let mut other = mine;
    other.0[15] = 9;
    let connector = HostConnector::new(site.host.clone(), config);
    connector.connect_volume(&info(&[A], 1, mine)).await.map_err(text)?;
    // What a migration leaves behind: connection info whose LUN is another volume's on this host.
    connector.disconnect_volume(&info(&[A], 1, other), false).await.map_err(text)?;
    let devices = connector.census().devices;
    ensure(devices.iter().any(|d| d.wwn == Some(mine)), "another volume's device was removed")
}

async fn d39(site: Site, config: HostConfig) -> Seen {
    let (one, two) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 2, 64));
    let uevents = UeventPlan { delay: secs(40), burst_every: Duration::ZERO };
    let connector = HostConnector::new(site.host.clone(), HostConfig { uevents, ..config });
    let first = info(&[A, B], 1, one);
    connector.connect_volume(&first).await.map_err(text)?;
    site.host.sleep(secs(60)).await;
    connector.disconnect_volume(&first, false).await.map_err(text)?;
    let attached = connector.connect_volume(&info(&[A, B], 2, two)).await.map_err(text)?;
    ensure(attached.paths == 2, "the map lacks paths that multipathd took for the old volume")
}

async fn d40(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), HostConfig { interfaces: 2, ..config });
    let volume = info(&[A, B], 1, wwn);
    let attached = connector.connect_volume(&volume).await.map_err(text)?;
    ensure(attached.paths == 4 && connector.census().sessions.len() == 4, "two sessions to each portal")?;
    connector.disconnect_volume(&volume, false).await.map_err(text)?;
    ensure(connector.census().is_empty(), "something of the second sessions stayed")
}

async fn d41(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let volume = info(&["10.0.0.1:9999", A], 1, wwn);
    let nobody = info(&["10.0.0.1:9999"], 1, wwn);
    let mut nobody = nobody;
    nobody.multipath = true;
    let done = site.host.timeout(secs(300), connector.connect_volume(&nobody)).await;
    ensure(matches!(done, Ok(Err(ConnectorError::NoSession { .. }))), "the connect never ended")?;
    connector.connect_volume(&volume).await.map(|_| ()).map_err(text)
}

async fn d42(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    site.fake.lock().refuse.push_back(LoginStatus::SERVICE_UNAVAILABLE);
    connector.connect_volume(&info(&[A], 1, wwn)).await.map(|_| ()).map_err(text)
}

async fn d43(site: Site, config: HostConfig) -> Seen {
    let (one, two) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 2, 64));
    let first = HostConnector::new(site.host.clone(), config);
    let second = first.other_process();
    let (leaves, comes) = (info(&[A], 1, one), info(&[A], 2, two));
    for _ in 0..4 {
        first.connect_volume(&leaves).await.map_err(text)?;
        let (process, volume) = (first.clone(), leaves.clone());
        let leaving = site.host.spawn(async move { process.disconnect_volume(&volume, false).await });
        second.connect_volume(&comes).await.map_err(text)?;
        leaving.await.map_err(|e| e.to_string())?.map_err(text)?;
        second.disconnect_volume(&comes, false).await.map_err(text)?;
    }
    let breaches = first.table().breaches().to_vec();
    ensure(!breaches.iter().any(|b| b.rule == "INV-H6"), "two calls at once on one host")
}

async fn d44(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let volume = info(&[A, B], 1, wwn);
    connector.connect_volume(&volume).await.map_err(text)?;
    site.fake.lock().flush_sense = Some(Sense::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE));
    let _ = connector.disconnect_volume(&volume, true).await;
    ensure(connector.census().is_empty(), "devices stayed after a forced disconnect")
}

/// Attaches over two paths, grows the volume, extends.
async fn extended(site: &Site, config: HostConfig) -> Result<HostConnector, String> {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let volume = info(&[A, B], 1, wwn);
    connector.connect_volume(&volume).await.map_err(text)?;
    site.fake.lock().luns.get_mut(&1).unwrap().blocks = 128;
    let size = connector.extend_volume(&volume).await.map_err(text)?;
    ensure(size == 65_536, "the answer is the new size")?;
    Ok(connector)
}

async fn d45(site: Site, config: HostConfig) -> Seen {
    let connector = extended(&site, config).await?;
    let sizes: Vec<u64> = connector.census().devices.iter().map(|d| d.size_bytes).collect();
    ensure(sizes == [65_536, 65_536], "the paths differ in size")
}

async fn d46(site: Site, config: HostConfig) -> Seen {
    let connector = extended(&site, config).await?;
    ensure(connector.census().maps[0].size_bytes == 65_536, "the map has the old size")
}

async fn d66(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A], 1, wwn)).await.map_err(text)?.device;
    // The target refuses the first logins after the loss.
    site.fake.lock().refuse.extend([LoginStatus::SERVICE_UNAVAILABLE; 3]);
    site.world.reset("host", "array");
    site.host.sleep(secs(60)).await;
    ensure(connector.census().sessions[0].logged_in, "the session never came back")?;
    device.read(0, 1).await.map(|_| ()).map_err(|e| e.to_string())
}

async fn d67(site: Site, config: HostConfig) -> Seen {
    let (one, two) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 2, 64));
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A], 1, one)).await.map_err(text)?.device;
    connector.connect_volume(&info(&[A], 2, two)).await.map_err(text)?;
    connector.disconnect_volume(&info(&[A], 2, two), false).await.map_err(text)?;
    let read = site.host.timeout(secs(5), device.read(0, 1)).await;
    ensure(matches!(read, Ok(Ok(_))), "the session of another volume was closed")
}

async fn d68(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let mut table = vec![0; 512];
    table[446 + 4] = 0x83;
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    site.fake.lock().luns.get_mut(&1).unwrap().data.insert(0, table);
    let connector = HostConnector::new(site.host.clone(), config);
    let attached = connector.connect_volume(&info(&[A, B], 1, wwn)).await.map_err(text)?;
    ensure(attached.path == "/dev/dm-0", "a partition was returned")?;
    let records: Vec<u8> = connector.table().devices().map(|(_, d)| d.partitions).collect();
    ensure(records == [1, 1], "the partition is known")
}

async fn d71(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    site.fake.lock().no_unmap = true;
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A], 1, wwn)).await.map_err(text)?.device;
    ensure(device.unmap(&[(0, 8)]).await.is_err(), "the device cannot unmap")?;
    ensure(site.fake.lock().unmaps == 0, "UNMAP was sent to a device without it")
}

async fn no_flush(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let volume = info(&[A, B], 1, wwn);
    connector.connect_volume(&volume).await.map_err(text)?;
    connector.disconnect_volume(&volume, false).await.map_err(text)?;
    ensure(connector.table().check().is_ok(), "INV-H4 is broken")?;
    ensure(site.fake.lock().flushes > 0, "no flush before the removal")
}

async fn busy(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A], 1, wwn)).await.map_err(text)?.device;
    site.fake.lock().statuses.extend([Status::BUSY, Status::TASK_SET_FULL]);
    device.write(0, pattern(8, 1)).await.map_err(|e| e.to_string())?;
    let data = device.read(0, 8).await.map_err(|e| e.to_string())?;
    ensure(data == pattern(8, 1) && site.fake.lock().statuses.is_empty(), "the write was not sent again")
}

async fn silence(site: Site, config: HostConfig) -> Seen {
    let (wwn, gone) = (site.fake.volume(1, 1, 64), site.fake.volume(2, 2, 64));
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A], 1, wwn)).await.map_err(text)?.device;
    // Somebody looks for another volume at this LUN, and hears nothing.
    site.fake.lock().anonymous = true;
    let wanted = info(&[A], 1, gone);
    let found = site.host.timeout(secs(60), connector.connect_volume(&wanted)).await;
    site.fake.lock().anonymous = false;
    ensure(!matches!(found, Ok(Ok(attached)) if attached.wwn == gone), "the other volume was found")?;
    device.read(0, 1).await.map(|_| ()).map_err(|e| format!("the device was taken away: {e}"))
}

async fn attention(site: Site, config: HostConfig) -> Seen {
    let wwn = site.fake.volume(1, 1, 64);
    let connector = HostConnector::new(site.host.clone(), config);
    let device = connector.connect_volume(&info(&[A], 1, wwn)).await.map_err(text)?.device;
    let reset = Sense::new(SenseKey::UNIT_ATTENTION, Asc::POWER_ON_RESET);
    site.fake.lock().attentions.push_back(reset);
    device.write(0, pattern(8, 1)).await.map_err(|e| e.to_string())?;
    ensure(site.fake.lock().attentions.is_empty(), "the unit attention was not met")
}
