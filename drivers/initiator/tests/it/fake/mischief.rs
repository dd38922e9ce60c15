//! Ways in which the fake target breaks RFC 7143, each at the next READ or WRITE.

use super::*;

/// One of them. `True` ones answer the command rightly besides.
#[derive(Clone, Debug)]
pub(crate) enum Mischief {
    /// Status with a StatSN that skips a number.
    StatSnJump,
    /// An answer for a task that nobody asked.
    WrongTag,
    /// The answer of the command, twice.
    Twice,
    /// Data-In whose DataSN skips a number.
    DataSnGap,
    /// Data-In with the same DataSN and offset twice.
    DataTwice,
    /// Data-In that leaves a hole.
    DataHole,
    /// More data than was asked for.
    DataBeyond,
    /// Data-In for a command that reads nothing, R2T for one that writes nothing.
    WrongDirection,
    /// Data-In with CHECK CONDITION.
    CheckInData,
    /// R2T past the end of the data.
    R2tBeyond,
    /// R2T for bytes that were sent before.
    R2tAgain,
    /// R2T of zero bytes.
    R2tEmpty,
    /// R2T without a transfer tag.
    R2tReserved,
    /// R2T for another LUN.
    R2tLun,
    /// R2Ts of one byte each, without end.
    R2tCrumbs,
    /// GOOD with less data than asked for, and no residual.
    ShortGood,
    /// GOOD for a write of which not all data were taken.
    GreedyGood,
    /// A write that leaves a residual.
    WriteResidual,
    /// CHECK CONDITION without sense data.
    NoSense,
    /// Service response "target failure".
    TargetFailure,
    /// A PDU with this opcode.
    Opcode(u8),
    /// A header that announces 16 MiB.
    Huge,
    /// A header with additional header segments.
    Ahs,
    /// Bytes that are no PDU.
    Garbage,
    /// A Reject of the command.
    Reject(RejectReason),
    /// A Reject of nothing that we know.
    RejectNothing,
    /// Task management, text or logout responses that nobody asked for.
    Unasked(u8),
    /// An asynchronous message, then the right answer.
    Announce(AsyncEvent, [u16; 3], Vec<u8>),
    /// A ping with data, then the right answer.
    PingWithData,
    /// Thousands of pings, then the right answer.
    PingFlood,
    /// Numbers that go back or contradict each other, then the right answer.
    OldNumbers,
    /// All data as one sequence, over MaxBurstLength; A bits.
    LongSequence,
    /// The connection is closed.
    Close,
    /// Half of an answer, then the connection is closed.
    CloseInside,
}

impl Connection {
    fn good(&mut self, c: &ScsiCommand) -> ScsiResponse {
        ScsiResponse {
            response: ResponseCode::COMPLETED,
            status: Status::GOOD,
            residual: Residual::None,
            itt: c.itt,
            snack_tag: 0,
            stat_sn: self.next_stat(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn(),
            exp_data_sn: 0,
            sense: Bytes::new(),
            response_data: Bytes::new(),
        }
    }

    fn piece(&self, c: &ScsiCommand, data_sn: u32, offset: u32, length: u32) -> DataIn {
        DataIn {
            last: false,
            acknowledge: false,
            status: None,
            lun: Lun::ZERO,
            itt: c.itt,
            ttt: RESERVED_TAG,
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn(),
            data_sn,
            offset,
            data: vec![0xee; length as usize].into(),
        }
    }

    fn ask(&self, c: &ScsiCommand, r2t_sn: u32, offset: u32, length: u32) -> R2t {
        R2t {
            lun: c.lun,
            itt: c.itt,
            ttt: 900 + r2t_sn,
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn(),
            r2t_sn,
            offset,
            length,
        }
    }

    async fn raw(&mut self, bytes: &[u8]) -> Io<()> {
        self.stream.write_all(bytes).await
    }

    /// Misbehaves. `true`: the command is to be answered rightly as well.
    pub(super) async fn misbehave(&mut self, how: Mischief, c: &ScsiCommand) -> Io<bool> {
        // What goes with the command without being asked for.
        let sent = if c.last { c.data.len() as u32 } else { c.expected_length.min(self.first_burst) };
        let total = c.expected_length;
        match how {
            Mischief::StatSnJump => {
                self.stat_sn += 1;
                let p = self.good(c);
                self.send(p).await?;
            }
            Mischief::WrongTag => {
                let p = self.good(c);
                self.send(ScsiResponse { itt: c.itt ^ 0x4000, ..p }).await?;
            }
            Mischief::Twice => {
                for _ in 0..2 {
                    let p = ScsiResponse { residual: Residual::Underflow(total), ..self.good(c) };
                    self.send(p).await?;
                }
            }
            Mischief::DataSnGap => self.send(self.piece(c, 1, 0, 512)).await?,
            Mischief::DataTwice => {
                self.send(self.piece(c, 0, 0, 512)).await?;
                self.send(self.piece(c, 0, 0, 512)).await?;
            }
            Mischief::DataHole => self.send(self.piece(c, 0, 512, 512)).await?,
            Mischief::DataBeyond => self.send(self.piece(c, 0, 0, total + 4)).await?,
            Mischief::WrongDirection if c.read => self.send(self.ask(c, 0, 0, 512)).await?,
            Mischief::WrongDirection => self.send(self.piece(c, 0, 0, 512)).await?,
            Mischief::CheckInData => {
                let status = Some(DataInStatus {
                    status: Status::CHECK_CONDITION,
                    stat_sn: self.next_stat(),
                    residual: Residual::None,
                });
                self.send(DataIn { status, last: true, ..self.piece(c, 0, 0, total) }).await?;
            }
            Mischief::R2tBeyond => self.send(self.ask(c, 0, sent, total)).await?,
            Mischief::R2tAgain => self.send(self.ask(c, 0, 0, 512)).await?,
            Mischief::R2tEmpty => self.send(self.ask(c, 0, sent, 0)).await?,
            Mischief::R2tReserved => {
                self.send(R2t { ttt: RESERVED_TAG, ..self.ask(c, 0, sent, 512) }).await?;
            }
            Mischief::R2tLun => {
                self.send(R2t { lun: Lun::from_number(77).unwrap(), ..self.ask(c, 0, sent, 512) }).await?;
            }
            Mischief::R2tCrumbs => {
                for n in 0..total - sent {
                    Pdu::from(self.ask(c, n, sent + n, 1)).push_to(&mut self.out, self.digests);
                }
                self.stream.write_all_buf(&mut self.out).await?;
            }
            Mischief::ShortGood => {
                self.send(DataIn { last: true, ..self.piece(c, 0, 0, 512) }).await?;
                let p = self.good(c);
                self.send(p).await?;
            }
            Mischief::GreedyGood => {
                let p = self.good(c);
                self.send(p).await?;
            }
            Mischief::WriteResidual => {
                self.receive(c).await?;
                let p = ScsiResponse { residual: Residual::Underflow(512), ..self.good(c) };
                self.send(p).await?;
                return Ok(false);
            }
            Mischief::NoSense => {
                let p = ScsiResponse { status: Status::CHECK_CONDITION, ..self.good(c) };
                self.send(p).await?;
            }
            Mischief::TargetFailure => {
                let p = ScsiResponse { response: ResponseCode(1), ..self.good(c) };
                self.send(p).await?;
            }
            Mischief::Opcode(opcode) => {
                let mut header = [0; 48];
                header[0] = opcode;
                header[1] = 0x80;
                header[16..20].copy_from_slice(&c.itt.to_be_bytes());
                header[24..28].copy_from_slice(&self.stat_sn.to_be_bytes());
                self.raw(&header).await?;
            }
            Mischief::Huge => {
                let mut header = [0; 48];
                header[0] = 0x25;
                header[5..8].copy_from_slice(&[0xff; 3]);
                self.raw(&header).await?;
            }
            Mischief::Ahs => {
                let mut header = [0; 48];
                header[0] = 0x21;
                header[4] = 0xff;
                self.raw(&header).await?;
            }
            Mischief::Garbage => self.raw(&[0xa5; 4000]).await?,
            Mischief::Reject(reason) => {
                let p = Reject {
                    reason,
                    stat_sn: self.next_stat(),
                    exp_cmd_sn: self.exp_cmd_sn,
                    max_cmd_sn: self.max_cmd_sn(),
                    data_sn: 0,
                    header: Bytes::copy_from_slice(&Pdu::from(c.clone()).emit().bhs.0),
                };
                self.send(p).await?;
            }
            Mischief::RejectNothing => {
                let p = Reject {
                    reason: RejectReason::PROTOCOL_ERROR,
                    stat_sn: self.next_stat(),
                    exp_cmd_sn: self.exp_cmd_sn,
                    max_cmd_sn: self.max_cmd_sn(),
                    data_sn: 0,
                    header: Bytes::from_static(&[7; 48]),
                };
                self.send(p).await?;
            }
            Mischief::Unasked(opcode) => {
                let mut header = [0; 48];
                header[0] = opcode;
                header[1] = 0x80;
                header[16..20].copy_from_slice(&0x0012_3456u32.to_be_bytes());
                header[20..24].copy_from_slice(&[0xff; 4]);
                header[24..28].copy_from_slice(&self.next_stat().to_be_bytes());
                self.raw(&header).await?;
            }
            Mischief::Announce(event, parameters, data) => {
                let p = AsyncMessage {
                    lun: c.lun,
                    stat_sn: self.next_stat(),
                    exp_cmd_sn: self.exp_cmd_sn,
                    max_cmd_sn: self.max_cmd_sn(),
                    event,
                    vendor_code: 0,
                    parameters,
                    data: data.into(),
                };
                self.send(p).await?;
                return Ok(true);
            }
            Mischief::PingWithData | Mischief::PingFlood => {
                let times = if matches!(how, Mischief::PingFlood) { 3000 } else { 1 };
                for n in 0..times {
                    let p = NopIn {
                        lun: Lun::ZERO,
                        itt: RESERVED_TAG,
                        ttt: 5000 + n,
                        stat_sn: self.stat_sn,
                        exp_cmd_sn: self.exp_cmd_sn,
                        max_cmd_sn: self.max_cmd_sn(),
                        data: Bytes::from_static(b"are you there"),
                    };
                    Pdu::from(p).push_to(&mut self.out, self.digests);
                }
                self.stream.write_all_buf(&mut self.out).await?;
                return Ok(true);
            }
            Mischief::OldNumbers => {
                for (exp_cmd_sn, max_cmd_sn) in [(0, 0), (self.exp_cmd_sn + 5, 1), (u32::MAX, u32::MAX - 9)] {
                    let p = NopIn {
                        lun: Lun::ZERO,
                        itt: RESERVED_TAG,
                        ttt: RESERVED_TAG,
                        stat_sn: self.stat_sn,
                        exp_cmd_sn,
                        max_cmd_sn,
                        data: Bytes::new(),
                    };
                    self.send(p).await?;
                }
                return Ok(true);
            }
            Mischief::LongSequence => {
                let half = total / 2;
                let data = vec![0; half as usize];
                self.send(DataIn { acknowledge: true, data: data.clone().into(), ..self.piece(c, 0, 0, 0) })
                    .await?;
                let status = Some(DataInStatus {
                    status: Status::GOOD,
                    stat_sn: self.next_stat(),
                    residual: Residual::None,
                });
                let last = DataIn { last: true, status, data: data.into(), ..self.piece(c, 1, half, 0) };
                self.send(last).await?;
            }
            Mischief::Close => return Err(gone()),
            Mischief::CloseInside => {
                self.raw(&[0x21; 30]).await?;
                return Err(gone());
            }
        }
        // Whatever comes now belongs to a connection that the initiator should have given up, or to no task.
        Ok(false)
    }
}
