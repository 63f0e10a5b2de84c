//! What is written in text: times, sizes, addresses, URLs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;
use jiff::{Span, SpanRelativeTo};

use crate::ledger::AccountId;

/// A time such as "10m", "250ms", "7d". A day is 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let unusable =
        || format!("\"{text}\" is no time; write a number and a unit, such as \"250ms\", \"10s\", \"5m\" or \"7d\"");
    let span: Span = text.trim().parse().map_err(|_| unusable())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| unusable())?;
    Duration::try_from(signed).map_err(|_| format!("\"{text}\" is negative"))
}

/// A time as [`duration`] reads it.
pub(super) fn show_duration(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    match (seconds, millis) {
        (_, 1..) => format!("{}ms", time.as_millis()),
        (0, _) => "0s".to_owned(),
        (s, _) if s % 86_400 == 0 => format!("{}d", s / 86_400),
        (s, _) if s % 3_600 == 0 => format!("{}h", s / 3_600),
        (s, _) if s % 60 == 0 => format!("{}m", s / 60),
        (s, _) => format!("{s}s"),
    }
}

/// Units of a size, the longer names first, so that "MiB" is not read as "B".
const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// A size in bytes such as "64KiB", "10MiB", "1MB", "512B".
pub(super) fn size(text: &str) -> Result<u64, String> {
    let unusable = || format!("\"{text}\" is no size; write a number and a unit, such as \"64KiB\" or \"10MiB\"");
    let text = text.trim();
    let (number, factor) =
        SIZES.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).ok_or_else(unusable)?;
    let number: u64 = number.trim().replace('_', "").parse().map_err(|_| unusable())?;
    number.checked_mul(factor).ok_or_else(unusable)
}

/// A size as [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = SIZES.iter().take(3).rev().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes}B"), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// The limit of a price tier, in the provider's own text: "32K", "1M". See `config/catalogue.toml` for what K and M mean.
pub(super) fn token_limit(text: &str) -> Result<u64, String> {
    let unusable = || format!("\"{text}\" is no number of tokens; write \"32K\", \"1M\" or a plain number");
    let (number, factor) = match text.strip_suffix('K') {
        Some(number) => (number, 1_024),
        None => text.strip_suffix('M').map_or((text, 1), |number| (number, 1_000_000)),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|limit| *limit > 0)
        .ok_or_else(unusable)
}

/// An address to listen at, such as "127.0.0.1:8080"; port 0 = any free one.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is no address; write \"127.0.0.1:8080\", \"[::1]:8080\" or \"0.0.0.0:8080\""))
}

/// A base URL: http or https, a host, perhaps a path; nothing else, and no slash at the end.
pub(super) fn base_url(text: &str) -> Result<Uri, String> {
    if text.contains('@') {
        return Err("a URL with a user or a password in it is not taken".to_owned());
    }
    let unusable = || format!("\"{text}\" is no URL; write it with its scheme, such as \"https://host/path\"");
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| unusable())?;
    if uri.authority().is_none() {
        return Err(unusable());
    }
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("\"{text}\" is neither http nor https"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(format!("\"{text}\" has a query; a base URL ends with its path"));
    }
    if uri.path().split('/').any(|part| part == "." || part == "..") || uri.path().contains("//") {
        return Err(format!("\"{text}\" has a path that can be read in two ways"));
    }
    Ok(uri)
}

/// The name of an account: what fits into a path, a log line and a metric.
pub(super) fn account(text: &str) -> Result<AccountId, String> {
    if AccountId::is_name(text) {
        return Ok(AccountId::from(text));
    }
    Err(format!("\"{text}\" cannot be the name of an account: 1 to 64 of A-Z a-z 0-9 - _ . @, no dot first"))
}

/// Whether a host, as written in a URL, is on this machine or in a private network. Names are not looked up here.
pub(super) fn is_private_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            // 100.64.0.0/10 is shared space; the metadata address of the provider's own machines lies in it.
            let shared = ip.octets().starts_with(&[100]) && ip.octets().get(1).is_some_and(|byte| byte & 0xc0 == 64);
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        Err(_) => bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_shown_as_they_are_read() {
        for text in ["250ms", "10s", "5m", "1h", "7d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["512B", "64KiB", "10MiB", "3GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        assert_eq!(size("1MB"), Ok(1_000_000));
    }

    #[test]
    fn what_has_no_unit_or_no_meaning_is_refused() {
        for text in ["", "10", "ten", "-5s", "1y"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "10", "MiB", "-1B", "99999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tier_of_256k_covers_a_window_of_262144() {
        assert_eq!(token_limit("256K"), Ok(262_144));
        assert_eq!(token_limit("1M"), Ok(1_000_000));
        assert!(token_limit("-").is_err());
    }

    #[test]
    fn private_hosts_are_seen() {
        for host in [
            "localhost",
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "[::1]",
            "0.0.0.0",
        ] {
            assert!(is_private_host(host), "{host}");
        }
        for host in ["dashscope-intl.aliyuncs.com", "8.8.8.8", "[2001:db8::1]"] {
            assert!(!is_private_host(host), "{host}");
        }
    }

    #[test]
    fn urls_that_hide_something_are_refused() {
        for url in
            ["example.com", "ftp://h/x", "https://user:pw@h/", "https://h/v1?key=1", "https://h/a/../b", "https://"]
        {
            assert!(base_url(url).is_err(), "{url}");
        }
        assert_eq!(base_url("https://h/v1/").unwrap().path(), "/v1");
    }
}
