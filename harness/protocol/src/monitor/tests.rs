use bytes::Bytes;
use sanbench_wire::pdu::{DataInStatus, NopIn, ScsiCommand, TaskAttribute};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Asc;

use super::*;

fn command(itt: u32, read: bool, expected_length: u32) -> Pdu {
    Pdu::from(ScsiCommand {
        immediate: false,
        last: true,
        read,
        write: !read,
        attribute: TaskAttribute::SIMPLE,
        lun: Lun::ZERO,
        itt,
        expected_length,
        cmd_sn: 1,
        exp_stat_sn: 1,
        cdb: [0; 16],
        ahs: Bytes::new(),
        data: Bytes::new(),
    })
}

fn data_in(data_sn: u32, offset: u32, length: usize, stat_sn: Option<u32>) -> Pdu {
    let status = |stat_sn| DataInStatus { status: Status::GOOD, stat_sn, residual: Residual::None };
    Pdu::from(DataIn {
        last: stat_sn.is_some(),
        acknowledge: false,
        status: stat_sn.map(status),
        lun: Lun::ZERO,
        itt: 7,
        ttt: RESERVED_TAG,
        exp_cmd_sn: 2,
        max_cmd_sn: 9,
        data_sn,
        offset,
        data: Bytes::from(vec![0; length]),
    })
}

fn ping(stat_sn: u32) -> Pdu {
    let (exp_cmd_sn, max_cmd_sn) = (2, 9);
    Pdu::from(NopIn {
        lun: Lun::ZERO,
        itt: 1,
        ttt: RESERVED_TAG,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        data: Bytes::new(),
    })
}

fn response(itt: u32, stat_sn: u32, exp_data_sn: u32, residual: Residual) -> Pdu {
    Pdu::from(ScsiResponse {
        response: ResponseCode::COMPLETED,
        status: Status::GOOD,
        residual,
        itt,
        snack_tag: 0,
        stat_sn,
        exp_cmd_sn: 2,
        max_cmd_sn: 9,
        exp_data_sn,
        sense: Bytes::new(),
        response_data: Bytes::new(),
    })
}

/// Requirements that are broken by these answers to a read of 1,024 bytes with tag 7.
fn broken(answers: &[Pdu]) -> Vec<&'static str> {
    let mut monitor = Monitor::new();
    monitor.full_feature(Agreed { max_recv: 512, max_burst: 1024, max_r2t: 1 });
    monitor.sent(&command(7, true, 1024).emit());
    for pdu in answers {
        monitor.received(&pdu.emit(), pdu);
    }
    monitor.take().into_iter().map(|b| b.requirement).collect()
}

#[test]
fn a_right_read_breaks_nothing() {
    assert!(broken(&[data_in(0, 0, 512, None), data_in(1, 512, 512, Some(5)), ping(6)]).is_empty());
    let whole = [data_in(0, 0, 512, None), data_in(1, 512, 512, None), response(7, 5, 2, Residual::None)];
    assert!(broken(&whole).is_empty());
}

#[test]
fn each_wrong_number_is_seen() {
    assert_eq!(broken(&[data_in(0, 0, 512, Some(5)), ping(7)]), ["ISC-008"], "StatSN skips");
    assert_eq!(broken(&[data_in(1, 0, 512, None)]), ["ISC-009"], "DataSN begins at 0");
    assert_eq!(broken(&[data_in(0, 512, 512, None)]), ["ISC-009"], "offsets begin at 0");
    assert_eq!(broken(&[data_in(0, 0, 513, None)]), ["ISC-005"], "a segment too long");
    assert_eq!(
        broken(&[data_in(0, 0, 512, None), response(7, 5, 2, Residual::None)]),
        ["ISC-009"],
        "ExpDataSN counts Data-In"
    );
    assert_eq!(
        broken(&[response(7, 5, 0, Residual::Underflow(1025))]),
        ["ISC-010"],
        "more missing than expected"
    );
    assert_eq!(broken(&[response(7, 5, 0, Residual::None), response(7, 6, 0, Residual::None)]), ["ISC-008"]);
    let three = [data_in(0, 0, 512, None), data_in(1, 512, 512, None), data_in(2, 1024, 512, None)];
    assert_eq!(broken(&three), ["ISC-010", "ISC-004"], "beyond what was expected, and beyond the burst");
}

#[test]
fn a_unit_attention_is_told_with_some_commands_only() {
    let told = |code: u8, key| {
        let mut monitor = Monitor::new();
        let Pdu::ScsiCommand(mut sent) = command(7, true, 96) else { panic!("a command") };
        sent.cdb[0] = code;
        monitor.sent(&Pdu::from(sent).emit());
        let Pdu::ScsiResponse(mut answer) = response(7, 5, 0, Residual::Underflow(96)) else {
            panic!("a response")
        };
        answer.status = Status::CHECK_CONDITION;
        answer.sense = Sense::new(key, Asc::POWER_ON_RESET).build_fixed().to_vec().into();
        let answer = Pdu::from(answer);
        monitor.received(&answer.emit(), &answer);
        monitor.take().into_iter().map(|b| b.requirement).collect::<Vec<_>>()
    };
    for code in [op::INQUIRY, op::REPORT_LUNS, op::REQUEST_SENSE] {
        assert_eq!(told(code, SenseKey::UNIT_ATTENTION), ["SCS-015"]);
        assert!(told(code, SenseKey::ILLEGAL_REQUEST).is_empty());
    }
    assert!(told(op::READ_10, SenseKey::UNIT_ATTENTION).is_empty());
}

#[test]
fn serial_numbers_wrap() {
    assert!(before(u32::MAX, 0) && before(5, 6) && !before(6, 5) && !before(3, 3));
}
