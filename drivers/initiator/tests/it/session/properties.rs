//! What holds for whatever a target sends.

use proptest::prelude::*;

use super::*;

/// A session with a read, a write, a text exchange, a task management function and a logout open.
fn busy_session() -> Session {
    let mut s = session();
    s.submit(1, read(4096));
    s.submit(2, write(4096));
    s.abort(3, 1);
    s.text(4, Bytes::new());
    let _ = sent(&mut s);
    s
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_end_in_bounded_time(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut s = busy_session();
        let _ = s.handle_input(NOW, &mut BytesMut::from(&bytes[..]));
        prop_assert!(s.outbox().len() < 1 << 20);
    }

    /// Plausible headers with random fields reach deeper than random bytes.
    #[test]
    fn any_target_pdu_ends_in_bounded_time(
        pdus in proptest::collection::vec(
            (0usize..9, any::<[u8; 47]>(), 0u32..6, 8u32..14, proptest::collection::vec(any::<u8>(), 0..40)),
            1..12,
        )
    ) {
        let mut s = busy_session();
        let mut bytes = BytesMut::new();
        for (kind, fields, tag, stat_sn, data) in pdus {
            let mut header = [0u8; 48];
            header[1..].copy_from_slice(&fields);
            header[0] = [0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f][kind];
            header[4] = 0;
            header[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
            header[16..20].copy_from_slice(&tag.to_be_bytes());
            header[24..28].copy_from_slice(&stat_sn.to_be_bytes());
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(&data);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let _ = s.handle_input(NOW, &mut bytes);
        prop_assert!(s.outbox().len() < 1 << 20);
        while s.poll_event().is_some() {}
    }

    /// Segmentation of the stream changes nothing (ISC-023).
    #[test]
    fn segmentation_is_irrelevant(cuts in proptest::collection::vec(1usize..80, 1..60)) {
        let transcript = |cuts: &[usize]| {
            let mut s = session();
            s.submit(1, read(600));
            s.submit(2, write(5000));
            let tags: Vec<u32> = sent(&mut s).iter().filter_map(|p| match p {
                Pdu::ScsiCommand(c) => Some(c.itt),
                _ => None,
            }).collect();
            let mut out = Outbox::new();
            let none = Digests::default();
            let mut last = data_in(tags[0], 1, 300, &[2; 300]);
            last.last = true;
            Pdu::from(data_in(tags[0], 0, 0, &[1; 300])).push_to(&mut out, none);
            Pdu::from(last).push_to(&mut out, none);
            Pdu::from(good(tags[0], 10)).push_to(&mut out, none);
            Pdu::from(good(tags[1], 11)).push_to(&mut out, none);
            let bytes = out.take_all();
            let mut input = BytesMut::new();
            let mut at = 0;
            let mut cut = cuts.iter().cycle();
            while at < bytes.len() {
                let end = bytes.len().min(at + cut.next().copied().unwrap_or(1));
                input.extend_from_slice(&bytes[at..end]);
                s.handle_input(NOW, &mut input).unwrap();
                at = end;
            }
            let mut events = Vec::new();
            while let Some(event) = s.poll_event() {
                events.push(match event {
                    Event::Command(t, CommandEnd::Completed(c)) => format!("{t} {:?} {:?}", c.status, c.data.concat()),
                    other => format!("{other:?}"),
                });
            }
            events
        };
        prop_assert_eq!(transcript(&cuts), transcript(&[usize::MAX / 2]));
    }
}
