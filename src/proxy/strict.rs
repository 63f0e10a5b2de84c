//! What a request's head must not be, beyond what the HTTP library refuses (FAULTS F-ACC-7, F-ACC-11): whatever two servers could
//! read differently is refused, although nothing of a client's framing ever goes upstream.
//!
//! Of a request with both a length and chunks the library shows the chunks alone, and ends the connection behind it; of a line
//! that ends in a bare LF it shows the line. Neither can be told apart here, and neither leaves a byte behind to be misread.

use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version};

use super::rejection::Rejection;

/// The longest path and query, in bytes.
const MAX_TARGET: usize = 8 * 1024;

/// Headers that are meant for us or for the model endpoint: `Connection` must not name one away (RFC 9110 7.6.1).
const END_TO_END: [HeaderName; 11] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    TRANSFER_ENCODING,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// Refuses a head that is not plainly one thing.
pub(super) fn check(head: &Parts) -> Result<(), Rejection> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET {
        return Err(Rejection::UriTooLong(MAX_TARGET));
    }
    if head.method == Method::CONNECT {
        return Err(Rejection::Malformed("There is no tunnel here."));
    }
    if head.version <= Version::HTTP_11 {
        one_hop(head)?;
    }
    // Servers that hand headers to programs read `_` and `-` as one (CVE-class of the Common Gateway Interface).
    if head.headers.keys().any(|name| name.as_str().contains('_')) {
        return Err(Rejection::Malformed("A header's name must not contain an underscore."));
    }
    Ok(())
}

/// What only HTTP/1 has.
fn one_hop(head: &Parts) -> Result<(), Rejection> {
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        return Err(Rejection::Malformed("The request line must hold a path, not a whole URL."));
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err(Rejection::Malformed("There must be one Host."));
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if codings.next().is_some() || coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Rejection::Malformed("Transfer-Encoding must be `chunked`, once."));
    }
    if named(&head.headers).any(|name| END_TO_END.contains(&name)) {
        return Err(Rejection::Malformed("Connection must not name a header that is meant for the other end."));
    }
    Ok(())
}

/// The headers that `Connection` names.
fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok())
}
