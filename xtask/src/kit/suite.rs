//! A test program without the standard harness, for tests that share what is prepared once. Absent: threads; the tests
//! run one after another.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the tests whose names the command line's words are parts of, or lists all (`--list`); `prepare` runs before the
/// first. A test fails by panicking.
pub fn run<T>(tests: &[(&str, T)], prepare: impl FnOnce(), body: impl Fn(&T)) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        tests.iter().for_each(|(name, _)| say(&format!("{name}: test")));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    prepare();
    let mut failed = Vec::new();
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(test))).is_ok();
        say(&format!("test {name} ... {} ({:?})", if good { "ok" } else { "FAILED" }, begin.elapsed()));
        if !good {
            failed.push(*name);
        }
    }
    say(&format!("failed: {failed:?}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    // Who does not read it learns the outcome from the exit code.
    let _ = writeln!(std::io::stdout(), "{line}");
}
