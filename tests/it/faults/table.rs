//! Every fault that Gratis has to stand, and the test that shows it: a row without a test that exists fails.

use std::collections::BTreeSet;
use std::path::Path;

/// A row: the fault, what it is, and the tests of it. A test is a file below the package's folder and a function in it.
type Row = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("F-ACC-1", "a connection that says nothing", &["tests/it/transport/framing.rs::f_acc_1_and_2_a_connection_that_says_nothing_or_never_finishes_a_head_is_closed"]),
    ("F-ACC-2", "a head that never ends", &["tests/it/transport/framing.rs::f_acc_1_and_2_a_connection_that_says_nothing_or_never_finishes_a_head_is_closed"]),
    ("F-ACC-3", "a slow body", &["src/proxy/body.rs::f_acc_3_a_body_may_begin_slowly_and_must_not_go_on_so"]),
    ("F-ACC-4", "a client that does not read", &["src/server/stall.rs::a_peer_that_does_not_read_is_given_up_and_one_that_reads_is_not"]),
    ("F-ACC-5", "a handshake that stalls, garbage, plain HTTP on the TLS port", &["tests/it/faults.rs::f_acc_5_what_is_no_tls_on_the_tls_port_is_closed"]),
    ("F-ACC-6", "no descriptors left", &["tests/it/faults.rs::f_acc_6_without_descriptors_it_waits_and_goes_on"]),
    ("F-ACC-7", "too many headers, too long a head or target", &["tests/it/transport/framing.rs::f_acc_7_a_long_target_is_a_414"]),
    ("F-ACC-8", "a huge body", &["tests/it/transport/bodies.rs::a_body_over_the_limit_is_a_413_that_the_client_gets_to_read", "tests/it/request_path.rs::a_chunked_body_in_small_pieces_is_read_whole_and_a_large_one_is_refused"]),
    ("F-ACC-9", "an encoded body", &["tests/it/rejections/requests.rs::bodies_that_are_not_taken"]),
    ("F-ACC-10", "pipelined requests, a refusal with the body unread", &["tests/it/transport/bodies.rs::a_body_that_was_not_read_is_never_taken_for_a_request", "tests/it/transport.rs::http_1_1_keeps_the_connection_and_answers_pipelined_requests_in_order"]),
    ("F-ACC-11", "a head that can be read in two ways", &["tests/it/transport/framing.rs::f_acc_11_a_head_that_is_not_plainly_one_thing_is_refused_and_the_connection_ends", "tests/it/transport/framing.rs::f_acc_11_behind_a_length_and_chunks_the_connection_ends"]),
    ("F-ACC-12", "floods of HTTP/2 frames, rapid reset", &["tests/it/transport/framing.rs::f_acc_12_a_flood_of_http2_control_frames_ends_the_connection_and_a_few_do_not", "tests/it/faults.rs::f_acc_12_streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection"]),
    ("F-ACC-13", "streams that are reset after their request", &["tests/it/faults.rs::f_acc_13_streams_that_are_reset_after_their_request_are_each_charged_exactly_and_bounded"]),

    ("F-AUT-1", "no key, a wrong one, two that differ", &["tests/it/rejections/requests.rs::credentials_that_are_no_key"]),
    ("F-AUT-2", "a key that is revoked while it is known", &["tests/it/request_path.rs::a_disabled_key_and_an_overdue_account_stop_the_very_next_call", "tests/it/store_shared.rs::what_one_replica_is_told_stops_the_next_call_on_every_other"]),
    ("F-AUT-3", "the store of the keys is down", &["tests/it/rejections/accounts.rs::a_store_that_is_down"]),
    ("F-AUT-4", "a thing of another account", &["tests/it/mixed.rs::a_response_that_another_account_made_is_not_gone_on_from", "tests/it/mixed.rs::a_cancelled_task_gives_its_hold_back_and_unknown_ones_are_not_there", "tests/it/websocket/voices.rs::a_session_with_another_accounts_voice_is_refused_before_it_goes_up"]),

    ("F-PAR-1", "what is no JSON", &["tests/it/dialects_facts.rs::what_parsers_read_differently_is_refused", "tests/it/dialects_facts.rs::depth_is_bounded"]),
    ("F-PAR-2", "a member twice", &["tests/it/dialects_facts.rs::a_parameter_is_given_once_under_its_own_name"]),
    ("F-PAR-3", "a member that looks like another", &["tests/it/dialects_facts.rs::a_parameter_is_given_once_under_its_own_name"]),
    ("F-PAR-4", "a body that is an array", &["tests/it/dialects_facts.rs::what_parsers_read_differently_is_refused"]),
    ("F-PAR-5", "a bound that is no positive whole number", &["tests/it/dialects_facts.rs::bounds_are_whole_numbers_of_at_least_one", "tests/it/dialects_facts.rs::two_names_for_one_bound_must_agree"]),
    ("F-PAR-6", "a model that is not exactly one that is known", &["tests/it/route_fuzz.rs::no_spelling_of_a_request_reaches_the_upstream_without_a_hold"]),
    ("F-PAR-7", "several answers, several inputs", &["tests/it/dialects_apis.rs::units_are_what_the_request_says", "tests/it/mixed.rs::what_was_charged_is_what_is_spent_in_every_dialect_and_unit"]),
    ("F-PAR-8", "media by reference, an earlier response", &["tests/it/dialects_input.rs::images_are_counted_and_other_media_has_no_bound"]),
    ("F-PAR-9", "what is billed apart", &["tests/it/rules/surfaces.rs::no_surface_is_billed_beside_the_quota", "tests/it/dialects_input.rs::what_is_billed_apart_is_named"]),

    ("F-RES-1", "the quota is used up", &["tests/it/rejections/accounts.rs::quota_that_is_not_there"]),
    ("F-RES-2", "only holds are in the way", &["tests/simulate/main.rs::every_schedule_keeps_the_invariants", "tests/it/request_path.rs::sixty_four_clients_on_a_small_grant_never_overspend"]),
    ("F-RES-3", "a thousand at the edge", &["tests/it/store_flush.rs::a_thousand_at_the_edge_are_never_more_than_the_grant", "tests/it/store_shared.rs::of_two_replicas_that_race_for_the_last_token_one_gets_it"]),
    ("F-RES-4", "a reservation whose answer is lost", &["tests/simulate/main.rs::every_schedule_keeps_the_invariants", "tests/it/shared_faults.rs::the_network_delays_cuts_and_repeats"]),
    ("F-RES-5", "amounts beyond every limit", &["tests/it/store_conformance.rs::random_commands_on_redis_give_what_the_rules_give", "tests/it/ledger/properties.rs::any_sequence_keeps_the_book_in_order"]),
    ("F-RES-6", "a grant that ends within the call", &["tests/simulate/main.rs::every_schedule_keeps_the_invariants", "tests/it/ledger/walk.rs::every_interleaving_keeps_the_invariants_in_one_process"]),
    ("F-RES-7", "one grant follows another", &["tests/simulate/main.rs::every_schedule_keeps_the_invariants"]),
    ("F-RES-8", "clocks that jump", &["tests/simulate/main.rs::every_schedule_keeps_the_invariants", "tests/it/store_faults.rs::a_hold_survives_under_a_clock_that_goes_back"]),
    ("F-RES-9", "all traffic by one key", &["tests/it/campaign.rs::a_crowd_uses_a_small_grant_up_and_no_more"]),
    ("F-RES-10", "the process dies after a reservation", &["tests/it/campaign.rs::a_killed_server_forgets_nothing_and_spends_nothing_twice", "tests/it/serve.rs::a_killed_process_presumes_what_was_in_progress_and_says_so"]),

    ("F-RED-1", "Redis is down", &["tests/it/shared_faults.rs::the_store_is_killed_and_an_operator_goes_on"]),
    ("F-RED-2", "Redis is silent", &["tests/it/shared_faults.rs::the_store_is_frozen", "tests/it/store_link/one_server.rs::a_silent_server_is_asked_no_more_and_is_used_again_when_it_speaks"]),
    ("F-RED-3", "a failover", &["tests/it/shared_faults.rs::sentinels_promote_another_primary", "tests/it/shared_faults.rs::a_cluster_moves_the_slot_and_promotes_a_replica"]),
    ("F-RED-4", "a failover that loses what was acknowledged", &["tests/it/store_link/several.rs::a_write_that_the_replica_does_not_acknowledge_is_not_done_for_us", "tests/it/store_link/classes.rs::a_class_that_loses_what_was_acknowledged_opens_only_where_that_is_accepted"]),
    ("F-RED-5", "two primaries", &["tests/it/store_link/several.rs::a_deposed_primary_that_wakes_up_acknowledges_nothing"]),
    ("F-RED-6", "errors of the topology", &["tests/it/store_link/several.rs::an_account_whose_slot_is_on_its_way_is_found_where_it_is", "tests/it/store_link/one_server.rs::a_server_that_is_loading_is_waited_for"]),
    ("F-RED-7", "the scripts are forgotten", &["tests/it/shared_faults.rs::the_scripts_are_forgotten"]),
    ("F-RED-8", "Redis is out of memory", &["tests/it/store_shared.rs::out_of_memory_stops_reservations_and_no_settlement"]),
    ("F-RED-9", "Redis throws counters away", &["tests/it/store_link/classes.rs::a_server_that_throws_counters_away_is_refused_whatever_is_accepted"]),
    ("F-RED-10", "Redis is empty, older, or another", &["tests/it/store_link/one_server.rs::a_flushed_store_is_not_an_empty_one", "tests/it/store_link/one_server.rs::a_restored_snapshot_is_an_older_state"]),
    ("F-RED-11", "the disk of Redis takes nothing", &["tests/it/store_link/one_server.rs::a_disk_that_takes_nothing_refuses"]),
    ("F-RED-12", "no rights, no TLS, a wrong password", &["tests/it/store_link/entry.rs::who_is_not_let_in_is_told_so_without_the_password", "tests/it/store_link/entry.rs::tls_lets_in_only_where_the_certificate_is_trusted_and_valid"]),
    ("F-RED-13", "a script that runs too long", &["tests/it/store_conformance.rs::the_transcripts_on_redis_come_out_as_written"]),

    ("F-EMB-1", "killed at any instant", &["tests/it/store_kill.rs::kill_at_any_instant_forgets_nothing_and_spends_nothing_twice"]),
    ("F-EMB-2", "a power loss", &["tests/it/store_faults.rs::a_power_loss_keeps_at_least_what_was_used", "tests/it/store_faults.rs::at_every_durable_commit_the_watermark_covers_what_follows"]),
    ("F-EMB-3", "a torn log", &["tests/it/store_faults.rs::a_log_that_is_cut_anywhere_makes_no_quota"]),
    ("F-EMB-4", "flipped bytes, a foreign or older file", &["tests/it/store_faults.rs::a_flipped_byte_is_refused_or_changes_nothing", "tests/it/store_faults.rs::an_older_copy_that_is_put_back_in_place_is_refused"]),
    ("F-EMB-5", "a full disk", &["tests/it/store_kill.rs::a_full_disk_stops_admissions_and_loses_nothing"]),
    ("F-EMB-6", "an fsync that fails", &["tests/it/store_kill.rs::a_failed_fsync_is_never_tried_again"]),
    ("F-EMB-7", "a slow fsync", &["tests/it/store_traits.rs::a_settlement_beyond_the_watermark_waits_for_a_durable_commit", "tests/it/store_flush.rs::a_full_queue_makes_callers_wait_and_loses_nobody"]),
    ("F-EMB-8", "two processes on one file", &["tests/it/store_faults.rs::a_second_process_is_told_who_has_the_file", "tests/it/serve.rs::a_second_process_on_the_same_ledger_is_refused_and_the_first_goes_on"]),
    ("F-EMB-9", "a folder that cannot be written", &["tests/it/store_faults.rs::a_directory_that_cannot_be_written_is_refused_by_name"]),
    ("F-EMB-11", "the file of another ledger or a newer version", &["tests/it/store_faults.rs::what_is_not_our_ledger_is_refused", "tests/it/store_faults.rs::the_lock_file_of_another_ledger_is_refused"]),

    ("F-UP-1", "no connection", &["tests/it/rejections/requests.rs::an_upstream_that_is_not_there_costs_nothing"]),
    ("F-UP-2", "it breaks after a byte was sent", &["tests/it/rejections/requests.rs::an_upstream_that_does_not_answer_or_breaks_is_presumed"]),
    ("F-UP-3", "no head in time", &["tests/it/ends.rs::a_head_that_does_not_come_in_time_is_a_504_and_the_call_goes_on_behind"]),
    ("F-UP-4", "a refusal by the upstream", &["tests/it/ends.rs::every_misbehaviour_of_the_upstream_is_covered"]),
    ("F-UP-5", "a 400", &["tests/it/ends.rs::every_misbehaviour_of_the_upstream_is_covered"]),
    ("F-UP-6", "a 5xx, an outage", &["tests/it/ends.rs::the_breaker_opens_before_an_outage_eats_the_quota_and_closes_after_a_good_reply"]),
    ("F-UP-7", "the upstream says that the free quota is used up", &["tests/it/operations/provider.rs::*"]),
    ("F-UP-8", "an error in a stream", &["tests/it/ends.rs::every_misbehaviour_of_the_upstream_is_covered"]),
    ("F-UP-9", "a usage in an unexpected place", &["tests/it/vectors.rs::every_vector_of_the_http_routes_passes_end_to_end", "tests/it/dialects_stream.rs::a_usage_event_of_any_size_is_found"]),
    ("F-UP-10", "no usage", &["tests/it/ends.rs::every_misbehaviour_of_the_upstream_is_covered"]),
    ("F-UP-11", "a reply that is cut", &["tests/it/mixed.rs::each_cut_reply_costs_at_least_what_was_charged"]),
    ("F-UP-12", "garbage in a stream", &["tests/it/dialects_stream.rs::odd_events_are_never_taken_out_and_read_the_same_at_every_split"]),
    ("F-UP-13", "a usage that cannot be", &["tests/it/dialects_stream.rs::a_usage_that_cannot_be_counted_is_no_usage", "tests/it/dialects_stream.rs::a_decreasing_usage_is_doubtful"]),
    ("F-UP-14", "a usage that is too low", &["tests/it/faults/low_usage.rs::f_up_14_a_usage_below_the_text_that_came_is_raised_to_the_least_that_the_text_can_cost", "src/dialect/written.rs::only_text_counts_and_never_more_of_it_than_there_is"]),
    ("F-UP-15", "a usage above the hold", &["tests/it/ends.rs::usage_above_the_hold_is_recorded_and_later_calls_are_held_at_the_window"]),
    ("F-UP-16", "a usage or an end mark twice", &["tests/it/dialects_stream.rs::repeated_usage_and_end_marks_count_once"]),
    ("F-UP-17", "headers that are none of ours", &["tests/it/transport/headers.rs::what_belongs_to_the_upstream_s_connection_stays_there"]),
    ("F-UP-18", "a switch of protocols that nobody asked for", &["tests/it/websocket/exact.rs::nothing_goes_up_before_the_upstream_has_agreed"]),
    ("F-UP-19", "a redirect", &["tests/it/transport/headers.rs::a_redirect_of_the_upstream_is_neither_followed_nor_handed_on"]),
    ("F-UP-20", "an encoded reply", &["tests/it/transport/headers.rs::an_encoded_reply_passes_encoded_and_is_metered", "tests/it/dialects_reply.rs::what_inflates_too_much_or_has_an_unknown_encoding_is_given_up"]),

    ("F-CLI-1", "the client leaves at any byte", &["tests/it/ends.rs::a_client_that_leaves_at_any_byte_is_charged_exactly_what_the_upstream_charged"]),
    ("F-CLI-2", "it leaves just before the usage", &["tests/it/ends.rs::a_client_that_leaves_at_any_byte_is_charged_exactly_what_the_upstream_charged"]),
    ("F-CLI-3", "it leaves while its body comes", &["tests/it/rejections/requests.rs::bodies_that_are_not_taken"]),
    ("F-CLI-4", "it leaves between hold and sending", &["tests/it/ends.rs::a_client_that_leaves_before_the_head_is_still_charged_exactly"]),
    ("F-CLI-5", "SDKs that try again, one key with too many calls", &["tests/it/transport/framing.rs::f_cli_5_one_key_has_so_many_calls_in_progress_and_no_more", "tests/it/clients.rs::openai_python_works_until_the_free_quota_ends_and_asks_once_after_that"]),
    ("F-CLI-6", "the DashScope SDK sends again", &["tests/it/clients.rs::the_sdks_of_the_other_dialects_work_and_ask_once_where_they_are_refused"]),

    ("F-SET-1", "the store is down at the settlement", &["tests/it/shared_lost.rs::settlements_wait_on_the_disk_while_the_store_is_away", "tests/it/journal.rs::a_settlement_waits_until_the_store_has_it"]),
    ("F-SET-2", "a settlement after its lease", &["tests/it/store_traits.rs::an_open_hold_of_a_dead_process_is_presumed_and_can_still_be_corrected"]),
    ("F-SET-3", "a settlement twice", &["tests/it/store_traits.rs::repeats_are_named_also_when_memory_has_forgotten_them"]),
    ("F-SET-4", "a settlement of an unknown hold", &["tests/it/ledger/properties.rs::every_outcome_is_common_among_random_commands_and_every_step_holds"]),
    ("F-SET-5", "death between a settlement and its line", &["tests/it/store_kill.rs::kill_at_any_instant_forgets_nothing_and_spends_nothing_twice"]),

    ("F-LOG-1", "whoever is told is slow", &["tests/it/notices.rs::*"]),
    ("F-LIF-1", "SIGTERM", &["tests/it/serve.rs::sigterm_lets_calls_end_refuses_new_ones_and_leaves_nothing_presumed"]),
    ("F-LIF-2", "the drain takes too long", &["tests/it/ends.rs::what_hangs_past_the_drain_s_cap_is_presumed"]),
    ("F-LIF-3", "a new version is put in place", &["tests/it/serve/handover.rs::f_lif_3_restarts_under_load_refuse_nobody_and_cut_nobody", "tests/it/serve/handover.rs::f_lif_3_on_a_shared_store_the_next_process_serves_before_the_last_one_ends"]),
    ("F-LIF-4", "a panic", &["tests/it/faults.rs::f_lif_4_a_panic_is_one_requests_500_in_its_dialect_and_gives_its_hold_back"]),
    ("F-LIF-5", "the process is stopped for a while", &["tests/simulate/main.rs::every_schedule_keeps_the_invariants"]),
    ("F-LIF-6", "too much at once, and too little memory", &["tests/it/faults.rs::f_lif_6_what_is_too_much_is_shed_before_anything_is_held", "tests/it/faults/memory.rs::f_lif_6_a_crowd_of_large_bodies_stays_within_the_memory_and_is_served_after_it", "tests/it/faults/memory.rs::f_lif_6_without_memory_nothing_new_is_held_until_there_is_some_again"]),
    ("F-LIF-7", "a configuration that is wrong", &["tests/it/serve/reload.rs::a_good_configuration_takes_over_and_a_bad_one_changes_nothing"]),
];

/// The rows of each kind: `F-EMB-10` does not exist.
const NUMBERS: [(&str, usize); 11] = [
    ("ACC", 13),
    ("AUT", 4),
    ("PAR", 9),
    ("RES", 10),
    ("RED", 13),
    ("EMB", 11),
    ("UP", 20),
    ("CLI", 6),
    ("SET", 5),
    ("LOG", 1),
    ("LIF", 7),
];

/// Whether a file has a test of this name; `*` = any test.
fn exists(test: &str) -> bool {
    let (file, name) = test.split_once("::").unwrap();
    let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) else { return false };
    let mut lines = text.lines().map(str::trim);
    let mut attributed = false;
    lines.any(|line| {
        let is_test = line.starts_with("#[test") || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        let found = attributed && function.is_some_and(|rest| name == "*" || rest.starts_with(&format!("{name}(")));
        attributed = is_test || (attributed && function.is_none());
        found
    })
}

#[test]
fn every_fault_has_a_test_that_exists() {
    let mut missing = Vec::new();
    for (fault, what, tests) in ROWS {
        if tests.is_empty() {
            missing.push(format!("{fault}, {what}: no test"));
        }
        missing.extend(tests.iter().filter(|test| !exists(test)).map(|test| format!("{fault}, {what}: {test}")));
    }
    assert!(missing.is_empty(), "{} rows:\n{}", missing.len(), missing.join("\n"));
    assert!(!exists("tests/it/faults.rs::there_is_no_such_test") && !exists("tests/it/faults.rs::hi"));
}

#[test]
fn every_fault_has_one_row() {
    let rows: BTreeSet<&str> = ROWS.iter().map(|(fault, ..)| *fault).collect();
    let wanted: BTreeSet<String> = NUMBERS
        .iter()
        .flat_map(|(kind, last)| (1..=*last).map(move |number| format!("F-{kind}-{number}")))
        .filter(|fault| fault != "F-EMB-10")
        .collect();
    assert_eq!(rows.len(), ROWS.len());
    assert_eq!(rows.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), wanted);
}
