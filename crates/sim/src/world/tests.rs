//! Many worlds. `SIM_SEED=N` runs that one alone, `SIM_WORLDS=N` the first so many.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use apiserver::Pki;

use super::run;

/// Worlds of one test run, unless the environment says otherwise.
const WORLDS: u64 = 16;

fn keys() -> Arc<Pki> {
    let dir = tempfile::tempdir().unwrap();
    Pki::open(dir.path(), &[], &[]).unwrap()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// What is wrong in the world of a seed, and how many Pods it had.
fn judge(seed: u64, keys: &Arc<Pki>) -> (Vec<String>, usize) {
    match std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, true, keys))) {
        Ok(report) => (report.violations, report.pods),
        Err(_) => (vec!["a part panicked".to_owned()], 0),
    }
}

#[test]
fn every_rule_holds_in_every_world() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SIM_WORLDS").unwrap_or(WORLDS),
    };
    let (keys, next, found) = (keys(), AtomicU64::new(*seeds.start()), Mutex::new((Vec::new(), 0)));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > *seeds.end() {
                return;
            }
            let (broken, pods) = judge(seed, &keys);
            let mut found = found.lock().unwrap();
            found.0.extend(broken.into_iter().map(|rule| format!("SIM_SEED={seed}: {rule}")));
            found.1 += pods;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (broken, pods) = found.into_inner().unwrap();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(pods > 0, "worlds without Pods prove nothing");
}

#[test]
fn a_seed_is_one_world() {
    let keys = keys();
    assert_eq!(run(7, true, &keys).fingerprint, run(7, true, &keys).fingerprint);
}

/// The claim that controllers need no expectations rests on waiting for their own writes; without it the rules break, and
/// the checks see that.
#[test]
fn controllers_that_do_not_wait_for_their_writes_are_caught() {
    let keys = keys();
    let broken = |seed| !run(seed, false, &keys).violations.is_empty();
    assert!((1..=WORLDS).any(broken));
}
