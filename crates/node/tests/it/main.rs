//! Real Pods on this machine, as root, without any API server: manifests in, processes out. This program re-executes
//! itself in mount, PID and network namespaces of its own, so that nothing it makes outlives it; cgroups lie under one
//! parent named after this process, removed whatever happens.
//!
//! Invariant: no test sleeps; each waits for a condition, up to a ceiling.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells by printing"
)]

mod kit;
mod pods;

use std::process::ExitCode;
use std::time::Duration;

use kit::{INNER, Kit};

/// No test takes longer.
const CEILING: Duration = Duration::from_secs(90);

/// Seconds that all tests together may take.
const CEILING_OF_ALL: u32 = 600;

type Body = fn(Kit) -> futures_util::future::LocalBoxFuture<'static, ()>;

macro_rules! tests {
    ($($module:ident: $($name:ident),* $(,)?);* $(;)?) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)),
            (|kit| Box::pin($module::$name(kit))) as Body)),*),*]
    };
}

const TESTS: &[(&str, Body)] = tests![
    pods: runs_and_goes, completes, crashes_and_backs_off, init_then_sidecars, environment_and_files, probes_decide,
        hooks_run, last_words, daemon_restart, removed_while_down,
        a_pod_of_which_nothing_is_known_leaves_no_cgroup, start_errors, several_pods,
        files_follow_the_root;
];

fn main() -> ExitCode {
    if std::env::var_os(INNER).is_some() {
        return inner();
    }
    xtask::kit::isolation::again(INNER, "minke-node-it", CEILING_OF_ALL)
}

fn inner() -> ExitCode {
    xtask::kit::suite::run(TESTS, kit::prepare_machine, |test| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("threads can be made").block_on(async {
            let kit = Kit::new().await;
            tokio::time::timeout(CEILING, test(kit)).await.expect("test takes too long");
        });
    })
}
