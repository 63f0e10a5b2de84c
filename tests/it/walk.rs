//! The walk of a new operator: the script in tests/operations, with the program itself and real receivers.

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_new_operator_walks_from_nothing_to_overdue_and_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/operations-venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make tools` first", python.display());
    let output = Command::new(root.join("tests/operations/walk.sh"))
        .arg(env!("CARGO_BIN_EXE_gratis"))
        .arg(python)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let walk = String::from_utf8_lossy(&output.stdout);
    println!("{walk}");
    // For people: every command with what it printed.
    let kept = root.join("target/walk.txt");
    std::fs::write(&kept, &*walk).unwrap_or_else(|why| panic!("{}: {why}", kept.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
