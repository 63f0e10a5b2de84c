//! The tables of routes: what is found is exactly a row, and what goes up cannot be read as another path.

use gratis::dialect::{Protocol, RouteMatch, Socket, coverage, family, route, socket};
use http::Method;

/// Whether a path and query say the same to every server: nothing to decode, to fold or to climb.
fn is_plain(path: &str) -> bool {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let sign = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.' | b'/');
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'&' | b'.' | b':');
    path.starts_with('/')
        && path.bytes().all(sign)
        && !path.contains("//")
        && !path.contains("/.")
        && !path.contains("..")
        && query.bytes().all(named)
}

/// Whether `path` is one of the row's: the same parts, but for the one that stands for an id.
fn is_of_row(row: &str, path: &str) -> bool {
    match (row.split_once('{'), row.split_once('}')) {
        (Some((start, _)), Some((_, end))) => {
            path.len() > start.len() + end.len() && path.starts_with(start) && path.ends_with(end)
        }
        _ => row == path,
    }
}

/// A request line without its version.
pub fn check(input: &str) {
    let Some((method, line)) = input.split_once(' ') else { return };
    let Ok(method) = &method.parse::<Method>() else { return };
    let (path, query) = line.split_once('?').map_or((line, None), |(path, query)| (path, Some(query)));
    let rows: Vec<_> = coverage().iter().filter(|row| is_of_row(row.path, path)).collect();
    let _ = family(path);
    match route(method, path, query) {
        RouteMatch::Found(found) => {
            let row = rows.iter().find(|row| row.operation == found.operation && row.method == method.as_str());
            let row = row.expect("what is found is a row");
            assert_eq!((row.dialect, row.metering), (found.dialect, found.metering));
            assert!(is_plain(path), "{path:?}");
            assert!(is_plain(&found.upstream_path), "{:?}", found.upstream_path);
            assert!(path.contains(&found.id) && found.upstream_path.contains(&found.id));
            assert_eq!(
                found.upstream_path.split_once('?').map(|(_, query)| query),
                query.filter(|query| !query.is_empty())
            );
        }
        RouteMatch::MethodNotAllowed { allow } => {
            assert!(rows.iter().any(|row| row.method == allow));
            assert!(rows.iter().all(|row| row.method != method.as_str()));
        }
        RouteMatch::NotMetered => {}
    }
    if let Some(Socket::Found(protocol)) = socket(method, path, query) {
        assert_eq!(method, Method::GET);
        assert!(is_plain(&protocol.upstream_path()));
        if let Protocol::Realtime { model } = protocol {
            assert_eq!(query, Some(format!("model={model}").as_str()));
        }
    }
}
