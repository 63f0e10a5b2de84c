//! Content encodings: which are asked for, and which one a response has.

/// The content encoding of a response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// None.
    Identity,
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`, with or without its zlib frame.
    Deflate,
    /// `br`.
    Brotli,
    /// Another one, or several in a row: it cannot be read here.
    Other,
}

impl Encoding {
    /// Reads a `Content-Encoding` header.
    #[must_use]
    pub fn of(header: Option<&str>) -> Self {
        let Some(name) = header.map(str::trim).filter(|name| !name.is_empty()) else { return Self::Identity };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("identity") => Self::Identity,
            () if is("gzip") || is("x-gzip") => Self::Gzip,
            () if is("deflate") => Self::Deflate,
            () if is("br") => Self::Brotli,
            () => Self::Other,
        }
    }

    /// What to ask of the upstream: what the client accepts and we can read. A stream is asked for as it is, because
    /// its usage chunk may have to be taken out (W 2.4: the service does not encode streams either).
    #[must_use]
    pub fn acceptable(client_accept_encoding: Option<&str>, stream: bool) -> &'static str {
        let header = if stream { "" } else { client_accept_encoding.unwrap_or_default() };
        let (gzip, deflate, br) = (accepts(header, "gzip"), accepts(header, "deflate"), accepts(header, "br"));
        match (gzip, deflate, br) {
            (true, true, true) => "gzip, deflate, br",
            (true, true, false) => "gzip, deflate",
            (true, false, true) => "gzip, br",
            (true, false, false) => "gzip",
            (false, true, true) => "deflate, br",
            (false, true, false) => "deflate",
            (false, false, true) => "br",
            (false, false, false) => "identity",
        }
    }
}

/// Whether an `Accept-Encoding` header lets `name` through: named with a weight above 0, or not named beside `*`.
fn accepts(header: &str, name: &str) -> bool {
    let mut any = false;
    for item in header.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let wanted = parts.all(|p| !is_zero_weight(p));
        if coding.eq_ignore_ascii_case(name) {
            return wanted;
        }
        if coding == "*" {
            any = wanted;
        }
    }
    any
}

/// Whether a parameter is `q=0`, however many zeros it is written with.
fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
}
