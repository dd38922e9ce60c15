//! Reservations that a holder hands over: REGISTER AND MOVE (SPC-4 clause 5.13.8).

use sanbench_wire::scsi::status::Status;

use super::nexus::{A, B, conflict, done, good, keys, pair, reservation};
use crate::cdb::{self, be};
use crate::lab::Lab;
use crate::outcome::{Checked, must, not_claimed};
use crate::raw::{Answer, Client, Cmd};

/// What a nexus is registered with that has no session.
const STRANGER: u64 = 0x57a4_0000_0000_0003;
/// Where these cases read and write.
const AT: u64 = 12_100;
/// EXCLUSIVE ACCESS.
const EXCLUSIVE: u8 = 3;

/// A nexus as READ FULL STATUS names it: relative target port and TransportID (SPC-4 clause 7.6.4).
struct Named {
    port: [u8; 2],
    id: Vec<u8>,
}

/// The nexus that is registered with a key.
async fn named(c: &mut Client, key: u64) -> Checked<Named> {
    let status = c.run(&Cmd::read(cdb::pr_in(3, 4096), 4096)).await?;
    if status.key(5) {
        return Err(not_claimed("READ FULL STATUS is not offered"));
    }
    must!(status.good(), "SPC-4 6.15.5", "GOOD", "{}", status.words());
    let mut rest = status.data.get(8..).unwrap_or_default();
    while rest.len() >= 24 {
        let end = (24 + be(rest, 20, 4) as usize).min(rest.len());
        if be(rest, 0, 8) == key {
            return Ok(Named { port: [rest[18], rest[19]], id: rest[24..end].to_vec() });
        }
        rest = &rest[end..];
    }
    Err(not_claimed("READ FULL STATUS does not list the nexus"))
}

/// REGISTER AND MOVE.
async fn hand_over(c: &mut Client, key: u64, new: u64, leaves: bool, to: &Named) -> Checked<Answer> {
    let mut list = [key.to_be_bytes(), new.to_be_bytes()].concat();
    list.extend_from_slice(&[0, u8::from(leaves) << 1]);
    list.extend_from_slice(&to.port);
    list.extend_from_slice(&(to.id.len() as u32).to_be_bytes());
    list.extend_from_slice(&to.id);
    let mut cdb = cdb::pr_out(7, 0, 0);
    cdb[5..9].copy_from_slice(&(list.len() as u32).to_be_bytes());
    c.run(&Cmd::write(cdb, list)).await
}

async fn holds(c: &mut Client, key: u64, registered: &[u64], what: &str) -> Checked {
    let held = reservation(c).await?;
    must!(
        held == Some((key, EXCLUSIVE)),
        "SPC-4 5.13.8",
        format!("{what} to hold the reservation"),
        "{held:x?}"
    );
    let (_, mut all) = keys(c).await?;
    all.sort_unstable();
    must!(all == registered, "SPC-4 5.13.8", format!("registrations {registered:x?}"), "{all:x?}");
    Ok(())
}

/// The holder hands its reservation over: first to a nexus that is there, then that one to a nexus without a session, from
/// which it can be taken back.
pub(super) async fn moved(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    good(&mut b, 0, 0, 0, B).await?;
    let other = named(&mut a, B).await?;
    good(&mut b, 0, 0, B, 0).await?;
    good(&mut a, 0, 0, 0, A).await?;
    good(&mut a, 1, EXCLUSIVE, A, 0).await?;
    let refused = hand_over(&mut a, B, B, true, &other).await?;
    if refused.unsupported() {
        done(a, b).await?;
        return Err(not_claimed("REGISTER AND MOVE is not offered"));
    }
    conflict(&refused, "a move with a wrong key")?;
    let refused = hand_over(&mut a, A, 0, true, &other).await?;
    must!(refused.key(5), "SPC-4 5.13.8", "ILLEGAL REQUEST for a new key of zero", "{}", refused.words());
    holds(&mut a, A, &[A], "the first host still").await?;

    let answer = hand_over(&mut a, A, B, true, &other).await?;
    must!(answer.good(), "SPC-4 5.13.8", "GOOD for REGISTER AND MOVE", "{}", answer.words());
    holds(&mut b, B, &[B], "the second host").await?;
    let read = Cmd::read(cdb::read(AT, 1), 512);
    conflict(&a.run(&read).await?, "a read of who handed over")?;
    let answer = b.run(&read).await?;
    must!(answer.good(), "SPC-4 5.13.8", "GOOD for a read of the new holder", "{}", answer.words());

    // The last digit of the ISID makes it another initiator port.
    let mut nobody = Named { port: other.port, id: other.id };
    let digit = nobody.id.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    if nobody.id.first() == Some(&0x45) {
        nobody.id[digit] = if nobody.id[digit] == b'1' { b'2' } else { b'1' };
        let answer = hand_over(&mut b, B, STRANGER, false, &nobody).await?;
        must!(answer.good(), "SPC-4 5.13.8", "GOOD for a nexus without a session", "{}", answer.words());
        holds(&mut b, STRANGER, &[STRANGER, B], "the nexus without a session").await?;
        conflict(&b.run(&read).await?, "a read of who handed over")?;
        good(&mut b, 4, EXCLUSIVE, B, STRANGER).await?;
        holds(&mut b, B, &[B], "who has preempted it").await?;
    }
    // Nobody who is here has lost anything to another's action.
    for c in [&mut a, &mut b] {
        let answer = c.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(
            answer.good() || answer.status == Status::RESERVATION_CONFLICT,
            "SPC-4 5.13.8",
            "no unit attention",
            "{}",
            answer.words()
        );
    }
    good(&mut b, 3, 0, B, 0).await?;
    done(a, b).await
}
