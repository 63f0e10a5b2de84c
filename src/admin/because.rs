//! A trace in sentences: what was looked at, in the order in which it decides.

use serde_json::Value;

use super::figure::show;

/// Why the call was decided as it was.
pub(super) fn sentences(trace: &Value) -> Vec<String> {
    let text = |place: &str| trace.pointer(place).and_then(Value::as_str);
    let count = |place: &str| trace.pointer(place).and_then(Value::as_i64).map(shown);
    let mut because = Vec::new();
    if let Some(asked) = text("/instead_of") {
        let served = text("/model").unwrap_or_default();
        because.push(format!("`{asked}` was refused for quota, and `{served}` served instead."));
    }
    if let (Some(input), Some(output)) = (count("/bound/input"), count("/bound/output")) {
        because.push(format!("It could cost {input} of input and {output} of output at most."));
    }
    let beside = trace.get("beside_the_quota").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !beside.is_empty() {
        let names: Vec<&str> = beside.iter().filter_map(Value::as_str).collect();
        because.push(format!("The quota does not cover what is billed for: {}.", names.join(", ")));
    }
    let stripped = trace.get("stripped").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !stripped.is_empty() {
        let names: Vec<&str> = stripped.iter().filter_map(Value::as_str).collect();
        because.push(format!(
            "By the operator's policy (`quota.strip`) it went without what is billed beside the quota: {}.",
            names.join(", ")
        ));
    }
    if let Some(refusal) = text("/refusal") {
        because.push(refused(refusal).to_owned());
        if let (Some(needed), Some(available), Some(held), Some(grant)) = (
            count("/shortfall/needed"),
            count("/shortfall/available"),
            count("/shortfall/held"),
            count("/shortfall/grant"),
        ) {
            because.push(format!(
                "It needed {needed} at least; {available} were available beside {held} held by calls in progress, in grant {grant} \
                 and those after it."
            ));
        }
        because.extend(grants(trace));
    }
    if let (Some(before), Some(beside), Some(after)) = (
        count("/counters/available_before"),
        count("/counters/available_beside_hold"),
        count("/counters/available_after"),
    ) {
        because.push(format!(
            "Before it {before} were available, {beside} beside its hold, and {after} after it (this call alone counted)."
        ));
    }
    because.extend(sent(trace));
    because.extend(ended(trace));
    if let (Some(at), Some(on)) = (text("/switch_moved/at"), trace.pointer("/switch_moved/free_quota_only")) {
        let by = text("/switch_moved/by/name").or_else(|| text("/switch_moved/by/role")).unwrap_or("somebody");
        let on = if on.as_bool() == Some(true) { "on" } else { "off" };
        because.push(format!("The switch was last turned {on} at {at} by {by}."));
    }
    because
}

fn shown(count: i64) -> String {
    let digits = show(count.unsigned_abs());
    if count < 0 { format!("-{digits}") } else { digits }
}

fn refused(refusal: &str) -> &'static str {
    match refusal {
        "key_not_active" => "The key is disabled, deleted or not of this account.",
        "account_not_activated" => "The account was never activated.",
        "account_closed" => "The account is closed.",
        "arrearage" => "The account is overdue and its grace is over, or the provider said so of the upstream.",
        "model_not_allowed" => "The key may not ask for this model.",
        "no_grant" => "Free quota only, and the account has no grant of this model.",
        "ended" => "Free quota only, and every grant has ended, ends before the call could, or has not begun.",
        "used_up" => "Free quota only, and what is left cannot carry the call.",
        "busy" => "Free quota only, and the rest is set aside for calls in progress.",
        "closed_by_provider" => {
            "Free quota only, and the provider itself refused this model; `gratis model reopen` lets calls through again."
        }
        "unbounded" => "Free quota only, and nobody knows what the call can cost at most.",
        "not_covered" => "Free quota only, and the call asks for what is billed beside the quota.",
        "not_payable" => "The quota is used up, and the model has no price, so it cannot be paid for.",
        "too_large" => "What was asked for is larger than can be counted.",
        _ => "The ledger said no.",
    }
}

fn grants(trace: &Value) -> Vec<String> {
    let grants = trace.get("grants_after_refusal").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let line = |grant: &Value| {
        let count = |name: &str| grant.get(name).and_then(Value::as_i64).map(shown).unwrap_or_default();
        format!(
            "Just after it, grant {} stood at {} available: {} granted, {} spent, {} presumed, {} held.",
            count("grant"),
            count("available"),
            count("granted"),
            count("spent"),
            count("presumed"),
            count("held"),
        )
    };
    grants.iter().map(line).collect()
}

fn sent(trace: &Value) -> Option<String> {
    let count = |place: &str| trace.pointer(place).and_then(Value::as_i64).map(shown);
    let bounds = [("max_tokens", count("/sent/max_tokens")), ("thinking_budget", count("/sent/thinking_budget"))];
    let bounds: Vec<String> =
        bounds.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}", value?))).collect();
    if bounds.is_empty() {
        return None;
    }
    let lowered = trace.pointer("/sent/lowered").and_then(Value::as_bool) == Some(true);
    let why = if lowered { ", which is lower than was asked, so that it fits" } else { "" };
    Some(format!("It went upstream with {}{why}.", bounds.join(" and ")))
}

fn ended(trace: &Value) -> Option<String> {
    let count = |place: &str| trace.pointer(place).and_then(Value::as_i64).map(shown).unwrap_or_default();
    let (input, output) = (count("/usage/input"), count("/usage/output"));
    match trace.get("ending").and_then(Value::as_str)? {
        "settled" if trace.get("usage_from").and_then(Value::as_str) == Some("text") => Some(format!(
            "The response said that it used less than its text can have cost; {input} of input and {output} of output were booked, the least that it can have been."
        )),
        "settled" => {
            Some(format!("The response said that it used {input} of input and {output} of output; that was booked."))
        }
        "released" => Some("It was provably not charged, so its hold was given back.".to_owned()),
        "presumed" => Some(match trace.get("usage_from").and_then(Value::as_str) {
            Some("at_least") => {
                format!(
                    "The response named {input} of input and {output} of output but was not whole, so its hold counts as used."
                )
            }
            _ => "Nobody can know what it used, so its hold counts as used.".to_owned(),
        }),
        _ => None,
    }
}
