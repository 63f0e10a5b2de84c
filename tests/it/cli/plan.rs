//! Which grants `init` means, on a small catalogue that is known.

use gratis::cli::init::plan::{full, stated};
use gratis::ledger::{Side, SwitchOff, Timestamp};

use crate::admin::office::{DAY, NOW, rules, site};

#[test]
fn a_shared_pool_is_granted_once_and_a_split_one_twice() {
    let grants = full(&rules().catalogue, &site("strict", SwitchOff::OnceUsedUp), Timestamp(NOW));
    let made: Vec<_> = grants.iter().map(|grant| (grant.model.as_str(), grant.side, grant.amount)).collect();
    assert_eq!(
        made,
        [
            ("qwen-max", Side::Both, 1_000_000),
            ("qwen-turbo", Side::Both, 1_000_000),
            ("qwen-vl", Side::Input, 100),
            ("qwen-vl", Side::Output, 50),
            ("shared", Side::Both, 1_000_000),
            ("vendor/slashed", Side::Both, 1_000_000),
            ("wan", Side::Both, 100),
        ]
    );
    // The shorter of the model's 30 days and the site's 90.
    assert_eq!(grants[1].end, Some(Timestamp(NOW + 30 * DAY)));
    assert_eq!(grants[0].end, Some(Timestamp(NOW + 90 * DAY)));
}

#[test]
fn stated_figures_follow_the_sides_of_the_model() {
    let plan = |figures: &[&str]| {
        let figures: Vec<_> = figures.iter().map(|text| text.parse().unwrap()).collect();
        stated(&rules().catalogue, &site("strict", SwitchOff::OnceUsedUp), Timestamp(NOW), &figures)
    };
    let split = plan(&["qwen-vl:input=40", "qwen-vl:output=20/60"]).unwrap();
    let made: Vec<_> = split.iter().map(|grant| (grant.side, grant.amount, grant.spent)).collect();
    assert_eq!(made, [(Side::Input, 100, 60), (Side::Output, 60, 40)]);
    let said = |figures: &[&str]| plan(figures).unwrap_err().join("; ");
    assert!(said(&["qwen-vl=40"]).contains("counted apart"));
    assert!(said(&["no-quota=40"]).contains("state LEFT/TOTAL"));
    assert!(said(&["shared=4", "shared-latest=4"]).contains("`shared` was stated before"));
    assert_eq!(plan(&["no-quota=40/50"]).unwrap()[0].spent, 10);
}
