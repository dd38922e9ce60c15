//! Traffic policies (QoS) on the data path: who waits, how long, and what aborts do to what waits.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::bench::*;
use sanbench_array::{DeviceId, TrafficPolicy};
use sanbench_target::TargetConfig;
use sanbench_wire::Pdu;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::status::Status;

/// Two mapped LUNs; ten commands a second for the first.
fn limited() -> (Bench, u16, u16, Conn) {
    // The window closes after four commands.
    let mut bench = Bench::with(TargetConfig { queue_depth: 4, ..TargetConfig::default() });
    let (slow, fast) = (bench.lun("slow", 4096), bench.lun("fast", 4096));
    let (slow_lun, fast_lun) = (bench.map(DeviceId::Lun(slow)), bench.map(DeviceId::Lun(fast)));
    let mut conn = bench.ready(slow_lun);
    assert_eq!(conn.run(fast_lun, Cdb::TestUnitReady, 0).0, Status::CHECK_CONDITION);
    let policy = TrafficPolicy {
        luns: BTreeSet::from([slow]),
        commands: NonZeroU64::new(10),
        bytes: None,
        reads: true,
        writes: true,
    };
    bench.parts.array.lock().set_traffic_policy(1, Some(policy));
    (bench, slow_lun, fast_lun, conn)
}

fn read() -> Cdb {
    Cdb::Read(Transfer::new(Width::Ten, 0, 1))
}

/// Lets time pass; the PDUs that come then.
fn pass(conn: &mut Conn, time: Duration) -> Vec<Pdu> {
    conn.now += time;
    let now = conn.now;
    conn.session.handle_timer(now);
    conn.collect();
    conn.rest()
}

#[test]
fn answers_of_a_limited_lun_wait_and_others_overtake_them() {
    let (_bench, slow, fast, mut conn) = limited();
    let data = pattern(1, 3);
    assert_eq!(conn.put(slow, Cdb::Write(Transfer::new(Width::Ten, 0, 1)), &data).0, Status::GOOD);
    // The second command of this 100 ms waits for its turn, less the burst of 50 ms.
    let command = conn.command(slow, read(), 512, None);
    let itt = command.itt;
    conn.send(command);
    assert_eq!(conn.next(), None);
    let due = conn.session.next_timer().unwrap();
    assert_eq!(due - conn.now, Duration::from_millis(50));
    assert_eq!(conn.run(fast, read(), 512).0, Status::GOOD, "another LUN does not wait");
    assert_eq!(conn.run(slow, Cdb::TestUnitReady, 0).0, Status::GOOD, "nor does what moves no data");
    assert_eq!(pass(&mut conn, Duration::from_millis(49)), []);
    let answers = pass(&mut conn, Duration::from_millis(1));
    let [Pdu::DataIn(answer)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((answer.itt, &answer.data[..]), (itt, &data[..]));
}

#[test]
fn the_window_bounds_what_waits() {
    let (_bench, slow, _, mut conn) = limited();
    assert_eq!(conn.run(slow, read(), 512).0, Status::GOOD);
    for _ in 0..3 {
        let command = conn.command(slow, read(), 512, None);
        conn.send(command);
        assert_eq!(conn.next(), None);
    }
    let ping = conn.command(slow, Cdb::TestUnitReady, 0, None);
    conn.send(ping);
    let Some(Pdu::ScsiResponse(answer)) = conn.next() else { panic!("no answer") };
    let room = answer.max_cmd_sn.wrapping_sub(answer.exp_cmd_sn).wrapping_add(1);
    assert_eq!((answer.status, room), (Status::GOOD, 1), "three of four places are taken");
    let answers = pass(&mut conn, Duration::from_secs(1));
    assert_eq!(answers.len(), 3);
}

#[test]
fn an_aborted_command_is_not_answered() {
    let (_bench, slow, _, mut conn) = limited();
    assert_eq!(conn.run(slow, read(), 512).0, Status::GOOD);
    let command = conn.command(slow, read(), 512, None);
    let itt = command.itt;
    conn.send(command);
    assert_eq!(conn.next(), None);
    conn.itt += 1;
    let request = TaskManagementRequest {
        immediate: true,
        function: TaskFunction::ABORT_TASK,
        lun: Lun::from_number(slow).unwrap(),
        itt: conn.itt,
        referenced_itt: itt,
        cmd_sn: conn.cmd_sn,
        exp_stat_sn: 0,
        ref_cmd_sn: conn.cmd_sn - 1,
        exp_data_sn: 0,
    };
    conn.send(request);
    let Some(Pdu::TaskManagementResponse(response)) = conn.next() else { panic!("no answer") };
    assert_eq!(response.response, TaskResponse::COMPLETE);
    assert_eq!(pass(&mut conn, Duration::from_secs(5)), []);
}
