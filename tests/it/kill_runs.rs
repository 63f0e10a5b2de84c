//! A few rounds of the kill runs: `gratis serve` is killed under load, the simulator judges. `make faults` runs many.

use std::process::Command;

#[test]
fn a_killed_serve_forgets_nothing_spends_nothing_twice_and_is_back_within_a_second() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/campaigns/kill.py");
    let program = env!("CARGO_BIN_EXE_gratis");
    let output = Command::new("python3")
        .args([script, "--gratis", program, "--rounds", "8", "--grant", "400000"])
        .output()
        .expect("python3 is needed: `make tools` installs it");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{said}\n{complained}");
}
