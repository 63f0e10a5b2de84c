//! WebSocket frames by their bytes (RFC 6455 5): what is let pass, what is refused with which code, and what is read of it in any
//! pieces.

use gratis::dialect::{Ended, FrameReader, OwnFrame, PROTOCOL_ERROR, Part, Sender, own_frame};

const FIN: u8 = 0x80;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// A frame with its length in the shortest form.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(masked | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

const MASK: Option<[u8; 4]> = Some([0x12, 0xf0, 0x00, 0xff]);

/// What ended, with the text of a text message and the payload of a control frame; or the code that it is refused with.
type Told = Result<Vec<(Part, Ended, Option<String>, Vec<u8>)>, u16>;

fn told(sender: Sender, most: usize, bytes: &[u8], piece: usize) -> Told {
    let mut reader = FrameReader::new(sender, most);
    let (mut found, mut waiting) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(piece.max(1)) {
        waiting.extend_from_slice(chunk);
        while let Some(stretch) = reader.read(&waiting).map_err(|error| error.code)? {
            waiting.drain(..stretch.length);
            if let Some(ended) = stretch.ended {
                let text = (stretch.part, ended) == (Part::Text, Ended::Message);
                let text = text.then(|| reader.text().map(str::to_owned)).flatten();
                let control = if stretch.part == Part::Control { reader.control().to_vec() } else { Vec::new() };
                found.push((stretch.part, ended, text, control));
            }
        }
    }
    assert!(waiting.len() < 14, "more than a header waits");
    Ok(found)
}

/// The same in every piece: one byte at a time, a few, all.
fn read(sender: Sender, most: usize, bytes: &[u8]) -> Told {
    let whole = told(sender, most, bytes, bytes.len());
    for piece in 1..=13 {
        assert_eq!(told(sender, most, bytes, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn client(bytes: &[u8]) -> Told {
    read(Sender::Client, 100_000, bytes)
}

fn text(said: &str) -> (Part, Ended, Option<String>, Vec<u8>) {
    (Part::Text, Ended::Message, Some(said.to_owned()), Vec::new())
}

#[test]
fn a_message_in_fragments_is_one_text_and_control_frames_between_them_are_their_own() {
    let bytes = [
        frame(1, b"one, \xc3", MASK),
        frame(FIN | 9, b"ping", Some([9, 8, 7, 6])),
        frame(0, b"\xbc", Some([1, 2, 3, 4])),
        frame(0, b"", MASK),
        frame(FIN | 10, b"", MASK),
        frame(FIN, b" and the rest of it", MASK),
        frame(FIN | 1, b"next", Some([0; 4])),
        frame(FIN | 2, b"\xff\xfe", MASK),
        frame(FIN | 8, &1000_u16.to_be_bytes(), MASK),
    ]
    .concat();
    let plain = |part, ended| (part, ended, None, Vec::new());
    let control = |ended, payload: &[u8]| (Part::Control, ended, None, payload.to_vec());
    let wanted = vec![
        plain(Part::Text, Ended::Fragment),
        control(Ended::Ping, b"ping"),
        plain(Part::Text, Ended::Fragment),
        plain(Part::Text, Ended::Fragment),
        control(Ended::Pong, b""),
        text("one, ü and the rest of it"),
        text("next"),
        plain(Part::Binary, Ended::Message),
        control(Ended::Close, &1000_u16.to_be_bytes()),
    ];
    assert_eq!(client(&bytes), Ok(wanted));
}

#[test]
fn every_length_has_its_shortest_form_and_no_other() {
    for length in [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 70_000] {
        let said = "x".repeat(length);
        for mask in [None, MASK] {
            let sender = if mask.is_some() { Sender::Client } else { Sender::Server };
            let bytes = frame(FIN | 1, said.as_bytes(), mask);
            assert_eq!(own_frame(OwnFrame::Text(&said), mask), bytes, "{length}");
            let all = told(sender, 100_000, &bytes, bytes.len());
            assert_eq!(all, Ok(vec![text(&said)]), "{length}");
            assert_eq!(told(sender, 100_000, &bytes, 7), all, "{length}");
        }
    }
    let long = |head: &[u8], length: usize| [head, &vec![0; length]].concat();
    for (head, length) in [
        (&[FIN | 2, 126, 0, 125][..], 125),
        (&[FIN | 2, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 65_535),
        (&[FIN | 2, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], 9),
        (&[FIN | 2, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 9),
    ] {
        assert_eq!(told(Sender::Server, usize::MAX, &long(head, length), usize::MAX), Err(PROTOCOL_ERROR), "{head:?}");
    }
}

#[test]
fn what_breaks_a_rule_ends_the_connection() {
    let whole = |first: u8, payload: &[u8]| frame(first, payload, MASK);
    let broken = [
        ("not masked", frame(FIN | 1, b"x", None)),
        ("an extension", whole(FIN | 0x40 | 1, b"x")),
        ("the second reserved bit", whole(FIN | 0x20 | 1, b"x")),
        ("the third reserved bit", whole(FIN | 0x10 | 1, b"x")),
        ("an unknown kind", whole(FIN | 3, b"x")),
        ("an unknown control frame", whole(FIN | 11, b"x")),
        ("nothing to go on with", whole(FIN, b"x")),
        ("a message within a message", [whole(1, b"x"), whole(FIN | 1, b"y")].concat()),
        ("a control frame in fragments", whole(9, b"x")),
        ("a large control frame", whole(FIN | 9, &[0; 126])),
        ("something behind a close", [whole(FIN | 8, b""), whole(FIN | 9, b"")].concat()),
        ("half a code", whole(FIN | 8, b"\x03")),
    ];
    for (what, bytes) in broken {
        assert_eq!(client(&bytes), Err(PROTOCOL_ERROR), "{what}");
    }
    assert_eq!(read(Sender::Server, 9, &whole(FIN | 1, b"x")), Err(PROTOCOL_ERROR), "a server that masks");
    assert_eq!(client(&whole(FIN | 9, &[0; 125])).map(|ended| ended.len()), Ok(1));
    assert_eq!(client(&whole(FIN | 1, b"\xff")), Err(NOT_UTF8));
    assert_eq!(client(&[whole(1, b"\xc3"), whole(FIN, b"(")].concat()), Err(NOT_UTF8));
}

#[test]
fn a_close_has_a_code_that_may_be_sent() {
    let close = |code: u16, reason: &[u8]| frame(FIN | 8, &[&code.to_be_bytes(), reason].concat(), MASK);
    for code in [1000, 1003, 1007, 1014, 3000, 4999] {
        assert_eq!(client(&close(code, b"why")).map(|ended| ended.len()), Ok(1), "{code}");
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(client(&close(code, b"why")), Err(PROTOCOL_ERROR), "{code}");
    }
    assert_eq!(client(&close(1000, b"\xff")), Err(NOT_UTF8));
    let ours = own_frame(OwnFrame::Close(1013, &"é".repeat(80)), None);
    assert_eq!(ours[..4], [FIN | 8, 124, 0x03, 0xf5], "a reason is cut between characters");
    assert_eq!(ours.len(), 2 + 2 + 122);
    assert_eq!(own_frame(OwnFrame::Ping(b"a"), None), [FIN | 9, 1, b'a']);
    assert_eq!(own_frame(OwnFrame::Pong(b"a"), MASK), frame(FIN | 10, b"a", MASK));
}

#[test]
fn a_client_says_at_most_so_much_and_a_server_passes_unread() {
    let bytes = [frame(1, b"four", MASK), frame(FIN, b"teen bytes", MASK)].concat();
    assert_eq!(
        read(Sender::Client, 14, &bytes),
        Ok(vec![(Part::Text, Ended::Fragment, None, vec![]), text("fourteen bytes")])
    );
    assert_eq!(read(Sender::Client, 13, &bytes), Err(TOO_BIG));
    assert_eq!(read(Sender::Client, 13, &frame(FIN | 2, &[0; 14], MASK)), Err(TOO_BIG));
    let bytes = [frame(1, b"four", None), frame(FIN, b"teen bytes", None), frame(FIN | 1, b"short", None)].concat();
    let unread = (Part::Text, Ended::Message, None, vec![]);
    let wanted = vec![(Part::Text, Ended::Fragment, None, vec![]), unread, text("short")];
    assert_eq!(read(Sender::Server, 13, &bytes), Ok(wanted));
}

#[test]
fn a_stretch_says_where_a_frame_begins_and_whether_it_is_the_last() {
    let mut reader = FrameReader::new(Sender::Server, 100);
    let bytes = frame(2, b"abcdef", None);
    let first = reader.read(&bytes[..5]).unwrap().unwrap();
    assert_eq!((first.length, first.begins, first.last, first.ended), (5, Some(6), false, None));
    let rest = reader.read(&bytes[5..]).unwrap().unwrap();
    assert_eq!((rest.length, rest.begins, rest.last, rest.ended), (3, None, false, Some(Ended::Fragment)));
    assert_eq!(reader.read(&[]), Ok(None));
    let empty = reader.read(&frame(FIN, b"", None)).unwrap().unwrap();
    assert_eq!((empty.length, empty.begins, empty.last, empty.ended), (2, Some(0), true, Some(Ended::Message)));
}
