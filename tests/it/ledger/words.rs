//! How instants are written, and what a name may be.

use gratis::ledger::{AccountId, Timestamp};

#[test]
fn an_instant_is_written_in_utc_to_the_second_however_late_it_is() {
    assert_eq!(Timestamp(0).to_rfc3339(), "1970-01-01T00:00:00Z");
    assert_eq!(Timestamp(1_798_675_200_999).to_rfc3339(), "2026-12-31T00:00:00Z");
    assert!(Timestamp(u64::MAX).to_rfc3339().starts_with("9999-12-30T"));
}

#[test]
fn a_name_fits_into_a_path_a_log_line_and_a_metric() {
    let long = "a".repeat(65);
    assert!(["a", "Acme-1_b.c@d", &long[..64]].into_iter().all(AccountId::is_name));
    assert!(!["", ".a", "a b", "a/b", "ä", &long].into_iter().any(AccountId::is_name));
}
