//! WebSocket frames and the messages in them: never panics, no cut changes what is read, and no byte is lost or read twice.

use gratis::dialect::{Ended, FrameError, FrameReader, Part, Sender, client_event, command, server_event, task_event};
use gratis::ledger::Unit;

/// What one direction says: the kinds of what ended, the texts, and how it broke.
type Told = (Vec<(Part, Ended)>, Vec<Option<String>>, Option<FrameError>);

fn read(sender: Sender, bytes: &[u8], cuts: &[u8]) -> Told {
    let mut reader = FrameReader::new(sender, 4_096);
    let (mut ended, mut texts, mut input, mut from) = (Vec::new(), Vec::new(), Vec::new(), 0_usize);
    for step in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
        let to = from.saturating_add(step).min(bytes.len());
        input.extend_from_slice(&bytes[from..to]);
        from = to;
        loop {
            match reader.read(&input) {
                Ok(Some(stretch)) => {
                    assert!(stretch.length > 0 && stretch.length <= input.len());
                    input.drain(..stretch.length);
                    if let Some(end) = stretch.ended {
                        ended.push((stretch.part, end));
                        if (stretch.part, end) == (Part::Text, Ended::Message) {
                            texts.push(reader.text().map(str::to_owned));
                        }
                        assert!(reader.control().len() <= 125);
                    }
                }
                Ok(None) => break,
                Err(error) => return (ended, texts, Some(error)),
            }
        }
        // What waits is a header at most: a frame's payload never does.
        assert!(input.len() < 14);
    }
    (ended, texts, None)
}

/// Looks at one input.
pub fn check(input: (bool, &[u8], &[u8])) {
    let (client, cuts, bytes) = input;
    let sender = if client { Sender::Client } else { Sender::Server };
    let whole = read(sender, bytes, &[]);
    assert_eq!(whole, read(sender, bytes, cuts));
    let texts = whole.1.into_iter().flatten();
    let texts = texts.chain(std::str::from_utf8(bytes).ok().map(str::to_owned));
    for text in texts {
        let known = command(&text);
        if known.is_ok() {
            // What is taken for a command is one JSON object to everybody.
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object()));
        }
        let _ = client_event(&text);
        let _ = server_event(&text);
        let _ = (task_event(&text, Unit::Characters), task_event(&text, Unit::Seconds));
    }
}
