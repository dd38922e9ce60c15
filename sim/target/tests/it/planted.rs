//! Planted defects of the iSCSI layer: each turns exactly its own check red.

use crate::bench::*;
use bytes::Bytes;
use sanbench_array::DeviceId;
use sanbench_target::{TargetConfig, TargetDefects};
use sanbench_wire::Pdu;
use sanbench_wire::frame::{Decoded, FrameLimits, decode};
use sanbench_wire::keys;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::status::Status;
use sha2::Digest;

fn write(lba: u64, blocks: u32) -> Cdb {
    Cdb::Write(Transfer::new(Width::Ten, lba, blocks))
}

fn mapped(bench: &mut Bench) -> u16 {
    bench.map(DeviceId::Lun(bench.lun("d", 4096)))
}

fn stat_sn_is_gapless(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.session();
    let mut numbers = Vec::new();
    for lun in [lun, lun, 200, lun] {
        let command = conn.command(lun, Cdb::TestUnitReady, 0, None);
        conn.send(command);
        let Some(Pdu::ScsiResponse(r)) = conn.next() else { return false };
        numbers.push(r.stat_sn);
    }
    numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

fn window_is_enforced(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.ready(lun);
    let mut high = conn.command(lun, Cdb::TestUnitReady, 0, None);
    high.cmd_sn += 10_000;
    conn.send(high);
    conn.rest().is_empty()
}

fn reinstatement_ends_tasks(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let target = bench.target();
    let mut old = bench.ready(lun);
    let command = old.command(lun, write(0, 8), 0, Some(4096));
    old.send(command);
    let Some(Pdu::R2t(r2t)) = old.next() else { return false };
    let mut new = bench.connect();
    new.isid = old.isid;
    new.log_in(HOST, Some(&target), OPERATIONAL);
    new.run(lun, Cdb::TestUnitReady, 0);
    assert_eq!(new.put(lun, write(0, 8), &pattern(8, 9)).0, Status::GOOD);
    // The pump of the old session has not looked at its events yet.
    old.answer(&r2t, &pattern(8, 1), 4096);
    new.read(lun, 0, 8) == pattern(8, 9)
}

fn aborted_writes_stay_away(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.ready(lun);
    let command = conn.command(lun, write(0, 8), 0, Some(4096));
    let itt = command.itt;
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { return false };
    let cmd_sn = conn.cmd_sn;
    conn.send(TaskManagementRequest {
        immediate: true,
        function: TaskFunction::ABORT_TASK,
        lun: Lun::from_number(lun).unwrap(),
        itt: 7777,
        referenced_itt: itt,
        cmd_sn,
        exp_stat_sn: 0,
        ref_cmd_sn: 0,
        exp_data_sn: 0,
    });
    let Some(Pdu::TaskManagementResponse(r)) = conn.next() else { return false };
    assert_eq!(r.response, TaskResponse::COMPLETE);
    conn.answer(&r2t, &pattern(8, 1), 4096);
    assert!(conn.rest().is_empty());
    conn.read(lun, 0, 8) == vec![0; 4096]
}

fn short_answers_have_right_digests(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let target = bench.target();
    let mut conn = bench.connect();
    let mut keys = OPERATIONAL.to_vec();
    keys[1].1 = "CRC32C";
    conn.log_in(HOST, Some(&target), &keys);
    let command = conn.command(lun, Cdb::Inquiry { evpd: false, page: 0, allocation: 36 }, 36, None);
    conn.send(command);
    let limits = FrameLimits { max_data_segment: 1 << 20, max_ahs: 0 };
    let Ok(Decoded::Pdu(raw)) = decode(&mut conn.incoming, limits, conn.digests) else { return false };
    raw.data_digest_ok
}

fn long_writes_have_no_residual(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.ready(lun);
    conn.put(lun, write(0, 32), &pattern(32, 1)).2 == Residual::None
}

fn numbers_of_write_data_are_checked(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.ready(lun);
    let command = conn.command(lun, write(0, 8), 0, Some(4096));
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { return false };
    let mut data = conn.unsolicited(0, 3, true, &pattern(8, 1));
    (data.ttt, data.lun) = (r2t.ttt, r2t.lun);
    conn.send(data);
    conn.rest();
    conn.read(lun, 0, 8) == vec![0; 4096]
}

fn misplaced_write_data_is_answered(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.ready(lun);
    let command = conn.command(lun, write(0, 8), 0, Some(4096));
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { return false };
    let mut data = conn.unsolicited(512, 0, true, &pattern(7, 1));
    (data.ttt, data.lun) = (r2t.ttt, r2t.lun);
    conn.send(data);
    matches!(&conn.rest()[..], [Pdu::ScsiResponse(r)] if r.status == Status::CHECK_CONDITION)
}

fn first_burst_is_enforced(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.ready(lun);
    let mut command = conn.command(lun, write(0, 10), 0, Some(5120));
    command.data = Bytes::from(pattern(10, 1));
    conn.send(command);
    conn.rest();
    conn.read(lun, 0, 10) == vec![0; 5120]
}

fn keys_out_of_range_are_rejected(bench: &mut Bench) -> bool {
    let target = bench.target();
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str()), ("MaxOutstandingR2T", "0")];
    let (_, text) = bench.connect().login_step(Stage::Operational, None, &keys);
    text.contains(&("MaxOutstandingR2T".into(), "Reject".into()))
}

fn reflections_are_refused(bench: &mut Bench) -> bool {
    bench.chap(true);
    let target = bench.target();
    let mut conn = bench.connect();
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str()), ("AuthMethod", "CHAP")];
    conn.login_step(Stage::Security, None, &keys);
    let (_, text) = conn.login_step(Stage::Security, None, &[("CHAP_A", "7")]);
    let get = |name: &str| text.iter().find(|(k, _)| k == name).unwrap().1.clone();
    let challenge = keys::decode_binary(&get("CHAP_C"), 1024).unwrap();
    let id: u8 = get("CHAP_I").parse().unwrap();
    let proof = sha2::Sha256::new().chain_update([id]).chain_update("wonderland-01").chain_update(&challenge);
    let proof = keys::encode_hex(&proof.finalize());
    let answer =
        [("CHAP_N", "alice"), ("CHAP_R", proof.as_str()), ("CHAP_I", "9"), ("CHAP_C", &get("CHAP_C"))];
    let (last, _) = conn.login_step(Stage::Security, Some(Stage::FullFeature), &answer);
    last.status == LoginStatus::AUTHENTICATION_FAILURE
}

fn pieces_make_one_header(bench: &mut Bench) -> bool {
    let lun = mapped(bench);
    let mut conn = bench.ready(lun);
    conn.piece = 20;
    let command = conn.command(lun, Cdb::TestUnitReady, 0, None);
    conn.send(command);
    matches!(conn.next(), Some(Pdu::ScsiResponse(r)) if r.status == Status::GOOD)
}

type Check = fn(&mut Bench) -> bool;

const CHECKS: &[(&str, Check)] = &[
    ("stat_sn_skips", stat_sn_is_gapless),
    ("cmd_sn_window_ignored", window_is_enforced),
    ("reinstatement_keeps_tasks", reinstatement_ends_tasks),
    ("abort_then_apply", aborted_writes_stay_away),
    ("digest_wrong_on_short_answers", short_answers_have_right_digests),
    ("residual_on_short_write", long_writes_have_no_residual),
    ("data_sn_unchecked", numbers_of_write_data_are_checked),
    ("reject_hangs", misplaced_write_data_is_answered),
    ("first_burst_ignored", first_burst_is_enforced),
    ("clamps_silently", keys_out_of_range_are_rejected),
    ("chap_accepts_reflection", reflections_are_refused),
    ("split_header_dropped", pieces_make_one_header),
];

fn passes(defects: TargetDefects, check: Check) -> bool {
    check(&mut Bench::with(TargetConfig { defects, ..TargetConfig::default() }))
}

#[test]
fn a_correct_target_passes_every_check() {
    for (name, check) in CHECKS {
        assert!(passes(TargetDefects::default(), *check), "{name}");
    }
}

#[test]
fn each_defect_fails_its_own_check_and_no_other() {
    for (planted, _) in CHECKS {
        let mut defects = TargetDefects::default();
        assert!(defects.set(planted), "{planted}");
        for (name, check) in CHECKS {
            assert_eq!(passes(defects, *check), name != planted, "{planted} planted, check of {name}");
        }
    }
}
