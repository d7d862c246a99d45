//! Real sandboxes, as root. This program re-executes itself in mount, PID and network namespaces of its own, so that
//! nothing it makes outlives it; cgroups lie under one parent named after this process, removed whatever happens.
//!
//! Invariant: no test sleeps; each waits for a condition, up to a ceiling. Absent: tests without root; without it the
//! program fails and says so.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod basic;
mod boundary;
mod isolation;
mod kit;
mod lost;
mod oracle;
mod probe;
mod runc;
mod streams;

use std::process::ExitCode;
use std::time::Duration;

use kit::{INNER, Kit};

/// No test takes longer.
const CEILING: Duration = Duration::from_secs(60);

/// Seconds that all tests together may take.
const CEILING_OF_ALL: u32 = 600;

type Test = (&'static str, fn(Kit) -> futures_util::future::LocalBoxFuture<'static, ()>);

/// Names and bodies.
#[macro_export]
macro_rules! tests {
    ($($module:ident: $($name:ident),* $(,)?);* $(;)?) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)),
            |kit| Box::pin($crate::$module::$name(kit)))),*),*]
    };
}

const TESTS: &[Test] = tests![
    basic: runs_and_logs, exit_codes, start_errors, stops_by_term, stops_by_kill, users_from_the_image,
        daemon_restart, exit_during_downtime, restart_while_starting, dead_shim;
    lost: shim_and_sockets, sockets_only, records, damaged_records, silent_shim, silent_shim_stopped;
    streams: exec_collects, exec_times_out, exec_with_stdin, exec_terminal, attach_stdin_once, attach_leaves_nothing, attach_slowly,
        attach_outlives_removal, attach_terminal;
    isolation: oom_killed, ipc_is_the_pods, process_namespaces, privileges, seccomp_filters, masked_and_read_only,
        mounts, volumes_of_an_image, links_do_not_escape, limits_and_stats, groups_made_at_once, log_rotation, connects_inside, sysctls_and_devices;
    boundary: directories_of_the_host, programs_of_the_host, execs_hold_nothing, system_mounts_are_no_links,
        proc_is_not_covered, null_is_our_own, masks_are_null, keyrings, frozen_containers_end, closed_directories,
        timed_out_scripts_stop, pause_can_only_wait, cgroup_options_stay, unknown_capabilities, logs_follow_no_links;
    oracle: as_runc;
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = probe::run(&args) {
        return ExitCode::from(u8::try_from(code).unwrap_or(99));
    }
    if std::env::var_os(INNER).is_some() {
        return inner();
    }
    xtask::kit::isolation::again(INNER, "minke-it", CEILING_OF_ALL)
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
