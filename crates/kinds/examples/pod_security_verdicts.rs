//! Judges a file of Pods against the verdicts that it gives: `cargo run -p kinds --example pod_security_verdicts FILE`.
//! Each line is `{"name", "level", "versions", "verdict": "pass" or "fail", "pod"}`. Ends with 1 if a verdict differs.

use std::process::ExitCode;

use kinds::pod_security::{Policy, evaluate};
use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "the example reads the file that it is given")]
fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let file = std::env::args_os().nth(1).ok_or("which file?")?;
    let (mut judged, mut differ) = (0, 0);
    for line in std::fs::read_to_string(file)?.lines() {
        let case: Value = serde_json::from_str(line)?;
        let mut pod = case["pod"].clone();
        kinds::pod::default::pod(&mut pod);
        for version in case["versions"].as_array().ok_or("a line without versions")? {
            judged += 1;
            if refused(&case["level"], version, &pod) != (case["verdict"] == "fail") {
                differ += 1;
                say(&format!("{} {version}: not {}", case["name"], case["verdict"]));
            }
        }
    }
    say(&format!("{judged} judged, {differ} differ"));
    Ok(if judged > 0 && differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refused(level: &Value, version: &Value, pod: &Value) -> bool {
    let labels = json!({"pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/enforce-version": version});
    let (policy, _) = Policy::of(&labels);
    !evaluate(policy.enforce, &pod["metadata"], &pod["spec"]).is_empty()
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn say(line: &str) {
    println!("{line}");
}
