//! One row a rule of the sources, by source and line (S0 to S4, W = the wire facts). The words are ours.

use gratis::catalogue::{Beginnings, Site};
use gratis::config::Loaded;
use gratis::ledger::{Overrun, SwitchOff, Timestamp};

use crate::config::sound;

const DAY: u64 = 86_400_000;
/// 2025-09-08T11:00 in Beijing.
const CHANGE: Timestamp = Timestamp(1_757_300_400_000);

type Check = fn(&Loaded) -> bool;

fn site<'a>(loaded: &'a Loaded, name: &str) -> &'a Site {
    loaded.sites.iter().find(|site| site.name == name).unwrap()
}

fn qwen(loaded: &Loaded) -> &Site {
    site(loaded, "qwen-cloud")
}

fn intl(loaded: &Loaded) -> &Site {
    site(loaded, "model-studio-intl")
}

fn cn(loaded: &Loaded) -> &Site {
    site(loaded, "model-studio-cn")
}

fn activated(at: Timestamp) -> Beginnings {
    Beginnings { activated: Some(at), ..Beginnings::default() }
}

fn every(loaded: &Loaded, rule: fn(&Site) -> bool) -> bool {
    loaded.sites.iter().all(rule)
}

const RULES: [(&str, &str, Check); 31] = [
    ("S0:12", "30 to 90 days: the catalogue and the site never give more than 90", |l| qwen(l).validity_days == 90),
    ("S0:12", "from sign-up or approval, whichever is later", |l| {
        let known = Beginnings { approved: Some(Timestamp(5 * DAY)), ..activated(Timestamp(DAY)) };
        qwen(l).validity(known, 90, Timestamp(0)) == (Timestamp(5 * DAY), Timestamp(95 * DAY))
    }),
    ("S0:12", "a model that is released later begins later", |l| {
        let known = Beginnings { released: Some(Timestamp(9 * DAY)), ..activated(Timestamp(DAY)) };
        qwen(l).validity(known, 30, Timestamp(0)) == (Timestamp(9 * DAY), Timestamp(39 * DAY))
    }),
    ("S0:16", "a cache block that the request marks is not offset", |l| !qwen(l).covers.explicit_cache),
    ("S0:31", "a notice 7 days before the end", |l| qwen(l).notices.days_before_end == [7]),
    ("S0:32", "a notice where 20 % are left, and at none", |l| qwen(l).notices.remaining_percent == [20, 0]),
    ("S0:59", "the switch is off where nobody touched it", |l| !qwen(l).switch_default_on),
    ("S0:59", "once on, off only when the quota is used up", |l| qwen(l).switch_off == SwitchOff::OnceUsedUp),
    ("S0:60", "the console is an hour behind", |l| qwen(l).console_lag_minutes == 60),
    ("S0:70", "the provider lets calls in progress end: not taken over, since the excess is billed", |l| {
        qwen(l).overrun == Overrun::Never
    }),
    ("S0:88", "a grace, of a length that nobody publishes: none", |l| {
        qwen(l).overdue_grace_days == 0 && qwen(l).grace_until(Timestamp(7)) == Timestamp(7)
    }),
    ("S1:4", "30 to 180 days, and 90 by the price pages", |l| intl(l).validity_days == 90),
    ("S1:6", "context cache is not offset", |l| !intl(l).covers.explicit_cache),
    ("S1:20", "the provider sends no notice; ours do", |l| intl(l).notices.on),
    ("S1:22", "calls that have started are not interrupted: not taken over", |l| intl(l).overrun == Overrun::Never),
    ("S1:29", "the console is an hour behind", |l| intl(l).console_lag_minutes == 60),
    ("S1:41", "an overdue account is refused, without a grace", |l| intl(l).overdue_grace_days == 0),
    ("S2:2", "a grant holds in Beijing", |l| cn(l).regions == ["cn-beijing"]),
    ("S2:2", "and in no other region of the site", |l| cn(l).endpoints.iter().all(|e| e.region == "cn-beijing")),
    ("S2:5", "activated before the change: the shortest of 30 to 90 days", |l| {
        cn(l).validity_days(Some(Timestamp(CHANGE.0 - 1))) == 30
    }),
    ("S2:6", "activated at 2025-09-08 11:00 in Beijing or later: 90 days", |l| {
        cn(l).validity_days(Some(CHANGE)) == 90
            && cn(l).validity(activated(CHANGE), 90, Timestamp(0)).1 == Timestamp(CHANGE.0 + 90 * DAY)
    }),
    ("S2:6", "the change was for that site alone", |l| {
        [qwen(l), intl(l)].iter().all(|site| site.validity_days(Some(Timestamp(CHANGE.0 - 1))) == 90)
    }),
    ("S2:25", "the console is a minute behind", |l| cn(l).console_lag_minutes == 1),
    ("S2:29", "unverified: free quota only whatever the switch says", |l| {
        every(l, |site| site.unverified_is_free_only)
    }),
    ("S2:47", "the switch is off by default, and locked until used up", |l| {
        !cn(l).switch_default_on && cn(l).switch_off == SwitchOff::OnceUsedUp
    }),
    ("S2:51", "notices at 20 % and at none", |l| cn(l).notices.on && cn(l).notices.remaining_percent == [20, 0]),
    ("S2:58", "an overdue account is refused, without a grace", |l| cn(l).overdue_grace_days == 0),
    ("W 4", "no grant in the US or in Hong Kong", |l| {
        let no = |host| intl(l).uncovered_host(host) == Some("a region without a free quota");
        no("dashscope-us.aliyuncs.com") && no("cn-hongkong.dashscope.aliyuncs.com")
    }),
    ("W 4", "a grant in Singapore", |l| intl(l).uncovered_host("dashscope-intl.aliyuncs.com").is_none()),
    ("W 2.1", "no grant on a host of the Coding Plan or the Token Plan", |l| {
        every(l, |site| {
            ["coding.dashscope.aliyuncs.com", "coding-intl.dashscope.aliyuncs.com", "token-plan.x.maas.aliyuncs.com"]
                .iter()
                .all(|host| site.uncovered_host(host) == Some("a host of another product"))
        })
    }),
    ("W 2.1", "no grant for a key of those products", |l| {
        every(l, |site| site.is_other_key("sk-sp-0001") && !site.is_other_key("sk-0001"))
    }),
];

#[test]
fn the_sites_do_what_the_sources_say() {
    let loaded = sound("");
    let mut broken = Vec::new();
    println!("{:8} {:6} rule", "source", "holds");
    for (source, rule, check) in RULES {
        let holds = check(&loaded);
        println!("{source:8} {:6} {rule}", if holds { "yes" } else { "NO" });
        if !holds {
            broken.push(format!("{source}: {rule}"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_site_names_its_sources() {
    for (file, source) in [("qwen-cloud", "S0:"), ("model-studio-intl", "S1:"), ("model-studio-cn", "S2:")] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/sites/{file}.toml"));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(source));
        // A rule stands under a comment that says where it is from, or that it is ours.
        let mut comment = String::new();
        // The regions stand behind one comment, at the end.
        let rules = text.split("[[region]]").next().unwrap();
        for line in rules.lines() {
            match line.trim() {
                line if line.starts_with('#') => comment.push_str(line),
                "" => comment.clear(),
                line if line.contains('=') && !line.starts_with("title") && !line.starts_with("name") => {
                    let sourced = ["S0", "S1", "S2", "W ", "ours", "Ours", "Dates without"];
                    assert!(sourced.iter().any(|word| comment.contains(word)), "{file}: `{line}` names no source");
                }
                _ => {}
            }
        }
    }
}
