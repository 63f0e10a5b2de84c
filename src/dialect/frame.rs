//! WebSocket frames (RFC 6455 5), read in bytes that arrive in any pieces and written only for what we say ourselves.
//!
//! Nothing is re-framed: the reader says what the next stretch of bytes is part of, and whoever asked passes the bytes on as they
//! came. Extensions are never negotiated, so a reserved bit is an error.

/// Which way the frames go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// Its frames are masked, and one that breaks a rule or a limit is refused.
    Client,
    /// Its frames are not masked; a message above the limit passes unread.
    Server,
}

/// What kind of frame a stretch of bytes is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// A ping, a pong or a close.
    Control,
}

/// What a stretch of bytes completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// A frame of a message that goes on in a further one.
    Fragment,
    /// A message; a text one can be read with [`FrameReader::text`].
    Message,
    /// A ping.
    Ping,
    /// A pong; what it carries can be read with [`FrameReader::control`].
    Pong,
    /// A close; nothing but the end of the connection follows.
    Close,
}

/// The next bytes, all of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// How many bytes.
    pub length: usize,
    /// What they are part of.
    pub part: Part,
    /// The payload of the whole frame, where its first byte is among them.
    pub begins: Option<u64>,
    /// Whether the frame is the last one of its message.
    pub last: bool,
    /// What they complete.
    pub ended: Option<Ended>,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct FrameError {
    /// The code of the close frame (RFC 6455 7.4.1).
    pub code: u16,
    /// One bounded sentence.
    pub reason: &'static str,
}

/// The code of a close for a broken rule.
pub const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// The most that a control frame carries (RFC 6455 5.5).
const MAX_CONTROL: u64 = 125;

const fn wrong(reason: &'static str) -> FrameError {
    FrameError { code: PROTOCOL_ERROR, reason }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A frame whose header has come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    mask: Option<[u8; 4]>,
    length: u64,
    left: u64,
}

/// A message whose last frame has not ended.
#[derive(Clone, Copy, Debug)]
struct Message {
    text: bool,
    size: u64,
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub struct FrameReader {
    sender: Sender,
    most: u64,
    frame: Option<Frame>,
    message: Option<Message>,
    closed: bool,
    text: Vec<u8>,
    kept: bool,
    control: Vec<u8>,
}

impl FrameReader {
    /// A reader for what `sender` sends. `most` is the largest frame and the largest message, in bytes.
    #[must_use]
    pub fn new(sender: Sender, most: usize) -> Self {
        Self {
            sender,
            most: u64::try_from(most).unwrap_or(u64::MAX),
            frame: None,
            message: None,
            closed: false,
            text: Vec::new(),
            kept: true,
            control: Vec::new(),
        }
    }

    /// What the next bytes of `input` are; `None` where more has to come first. The next call begins behind them.
    ///
    /// # Errors
    /// The bytes are no frames, or too large ones of a client.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<Stretch>, FrameError> {
        let header = match self.frame {
            Some(_) => 0,
            None => match self.begin(input)? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        let Some(frame) = self.frame.as_mut() else { return Ok(None) };
        let body = input.get(header..).unwrap_or_default();
        let payload = usize::try_from(frame.left).map_or(body.len(), |left| left.min(body.len()));
        if header == 0 && payload == 0 {
            return Ok(None);
        }
        let offset = frame.length - frame.left;
        frame.left -= payload as u64;
        let frame = *frame;
        self.keep(&frame, offset, body.get(..payload).unwrap_or_default());
        let ended = if frame.left == 0 { Some(self.end(&frame)?) } else { None };
        let part = match (frame.opcode, self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => Part::Control,
            (Opcode::Text, _) | (Opcode::Continuation, Some(Message { text: true, .. })) => Part::Text,
            (Opcode::Binary | Opcode::Continuation, _) => Part::Binary,
        };
        if matches!(ended, Some(Ended::Message)) {
            self.message = None;
        }
        let begins = (header > 0).then_some(frame.length);
        Ok(Some(Stretch { length: header + payload, part, begins, last: frame.last, ended }))
    }

    /// The text message that has just ended; `None` where it was too long to be kept or is no UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.text).ok().filter(|_| self.kept)
    }

    /// What the control frame carried that has just ended.
    #[must_use]
    pub fn control(&self) -> &[u8] {
        &self.control
    }

    /// Reads a header; gives its length.
    fn begin(&mut self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        if self.closed && !input.is_empty() {
            return Err(wrong("There must be nothing behind a close."));
        }
        let Some((&[first, second], rest)) = input.split_first_chunk::<2>() else { return Ok(None) };
        let opcode = opcode(first)?;
        let last = first & 0x80 != 0;
        let masked = second & 0x80 != 0;
        if masked != (self.sender == Sender::Client) {
            return Err(wrong("The frames of a client must be masked, those of a server must not."));
        }
        let Some((length, rest)) = length(second & 0x7f, rest)? else { return Ok(None) };
        let (mask, rest) = match (masked, rest.split_first_chunk::<4>()) {
            (false, _) => (None, rest),
            (true, Some((mask, rest))) => (Some(*mask), rest),
            (true, None) => return Ok(None),
        };
        self.admit(opcode, last, length)?;
        self.frame = Some(Frame { opcode, last, mask, length, left: length });
        Ok(Some(input.len() - rest.len()))
    }

    /// Whether such a frame may come now.
    fn admit(&mut self, opcode: Opcode, last: bool, length: u64) -> Result<(), FrameError> {
        match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                if !last || length > MAX_CONTROL {
                    return Err(wrong("A control frame must be whole and small."));
                }
                self.control.clear();
                return Ok(());
            }
            Opcode::Continuation => {
                let message = self.message.as_mut().ok_or(wrong("There is no message to go on with."))?;
                message.size = message.size.saturating_add(length);
            }
            Opcode::Text | Opcode::Binary => {
                if self.message.is_some() {
                    return Err(wrong("A message must end before the next one begins."));
                }
                self.message = Some(Message { text: opcode == Opcode::Text, size: length });
                self.text.clear();
                self.kept = true;
            }
        }
        if self.message.is_some_and(|message| message.size > self.most) {
            if self.sender == Sender::Client {
                return Err(FrameError { code: TOO_BIG, reason: "The message is too large." });
            }
            self.kept = false;
            self.text = Vec::new();
        }
        Ok(())
    }

    fn keep(&mut self, frame: &Frame, offset: u64, bytes: &[u8]) {
        let into = match (frame.opcode, self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => &mut self.control,
            (_, Some(Message { text: true, .. })) if self.kept => &mut self.text,
            (Opcode::Text | Opcode::Binary | Opcode::Continuation, _) => return,
        };
        let Some(mask) = frame.mask else { return into.extend_from_slice(bytes) };
        let skip = usize::try_from(offset % 4).unwrap_or(0);
        into.extend(bytes.iter().zip(mask.iter().cycle().skip(skip)).map(|(byte, key)| byte ^ key));
    }

    fn end(&mut self, frame: &Frame) -> Result<Ended, FrameError> {
        self.frame = None;
        Ok(match frame.opcode {
            Opcode::Ping => Ended::Ping,
            Opcode::Pong => Ended::Pong,
            Opcode::Close => {
                check_close(&self.control)?;
                self.closed = true;
                Ended::Close
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation if !frame.last => Ended::Fragment,
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                let text = self.message.is_some_and(|message| message.text);
                if text && self.sender == Sender::Client && std::str::from_utf8(&self.text).is_err() {
                    return Err(FrameError { code: NOT_UTF8, reason: "A text message must be UTF-8." });
                }
                Ended::Message
            }
        })
    }
}

fn opcode(first: u8) -> Result<Opcode, FrameError> {
    if first & 0x70 != 0 {
        return Err(wrong("No extension was agreed on."));
    }
    match first & 0x0f {
        0x0 => Ok(Opcode::Continuation),
        0x1 => Ok(Opcode::Text),
        0x2 => Ok(Opcode::Binary),
        0x8 => Ok(Opcode::Close),
        0x9 => Ok(Opcode::Ping),
        0xa => Ok(Opcode::Pong),
        _ => Err(wrong("There is no such kind of frame.")),
    }
}

/// A length and what follows it. It must have its shortest form, so that everybody reads the same.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    let (length, rest, least) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest, 126),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    if length < least || length >> 63 != 0 {
        return Err(wrong("The length of a frame must have its shortest form."));
    }
    Ok(Some((length, rest)))
}

fn check_close(payload: &[u8]) -> Result<(), FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(()) } else { Err(wrong("A close has a code of two bytes.")) };
    };
    if !matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(wrong("A close must have a code that may be sent."));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(FrameError { code: NOT_UTF8, reason: "The reason of a close must be UTF-8." });
    }
    Ok(())
}

/// A frame of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnFrame<'a> {
    /// A text message.
    Text(&'a str),
    /// A ping; at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong; at most 125 bytes.
    Pong(&'a [u8]),
    /// A close, with its code and a reason of at most 123 bytes.
    Close(u16, &'a str),
}

/// The bytes of a frame; masked where it goes to a server.
#[must_use]
pub fn own_frame(frame: OwnFrame<'_>, mask: Option<[u8; 4]>) -> Vec<u8> {
    let (opcode, payload) = match frame {
        OwnFrame::Text(text) => (0x1, text.as_bytes().to_vec()),
        OwnFrame::Ping(bytes) => (0x9, bytes.to_vec()),
        OwnFrame::Pong(bytes) => (0xa, bytes.to_vec()),
        OwnFrame::Close(code, reason) => {
            let fits = reason.floor_char_boundary(123);
            (0x8, [&code.to_be_bytes(), reason.get(..fits).unwrap_or_default().as_bytes()].concat())
        }
    };
    let mut bytes = vec![0x80 | opcode];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..126 => bytes.push(masked | u8::try_from(length).unwrap_or(0)),
        length @ 126..65_536 => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    match mask {
        None => bytes.extend(payload),
        Some(mask) => {
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
    bytes
}
