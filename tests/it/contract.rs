//! The OpenAPI document against a real process: schemathesis calls every route with what fits the document and what does not. No
//! answer may be a fault of ours, have a status or a type that the document does not name, or a shape that it does not describe.

use std::process::Command;

use crate::support::binary::Home;
use crate::support::wire;

/// Calls of each route, at most; the run takes about half a minute.
const CALLS: &str = "12";

#[tokio::test]
async fn no_answer_is_a_fault_or_undocumented() {
    let tool = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/operations-venv/bin/schemathesis");
    assert!(tool.exists(), "{} is missing: run `make tools` first", tool.display());
    let home = Home::new("http://127.0.0.1:9", "");
    home.init("qwen-max=362,917/1,000,000");
    let gratis = home.serve();
    let token = format!("Bearer {}", home.token());
    let url = format!("{}/admin/openapi.json", gratis.admin);
    let request = wire::request(http::Method::GET, &url, &[("authorization", &token)], Vec::new());
    let (status, _, body) = wire::whole(wire::send(request).await).await.unwrap();
    assert_eq!(status, 200);
    let document = home.path().join("openapi.json");
    std::fs::write(&document, &body).unwrap();
    let mut command = Command::new(tool);
    command
        .args(["run", document.to_str().unwrap(), "--url", &gratis.admin, "-H", &format!("Authorization: {token}")])
        // All checks but one: what fits the document may be refused for what no document can say, a cursor or an ETag for example.
        .args(["-c", "all", "--exclude-checks", "positive_data_acceptance"])
        .args(["-n", CALLS, "--seed", "7", "--continue-on-failure", "--warnings", "off"])
        .current_dir(home.path())
        .stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "schemathesis found something: {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("generated"), "nothing was called");
}
