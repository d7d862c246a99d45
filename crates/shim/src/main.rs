//! The shim: one tiny process per sandbox that holds the Pod's namespaces, starts its containers, writes their logs
//! and keeps their exit codes, whether or not a daemon lives.
//!
//! Invariant: one thread, which waits in one place (`Shim::run`) and nowhere else for longer than a system call takes.
//! Absent: decisions; they come from the daemon as flat messages (see the library part of this crate).
#![no_main]

mod container;
mod exec;
mod init;
mod newcomers;
mod output;
mod process;
mod rootfs;
mod server;
mod sys;

/// The C library's entry. Descriptor 3 is the listening socket; the standard streams are /dev/null.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    sys::close_from(shim::LISTEN_FD + 1);
    // When a machine shuts down everybody gets SIGTERM; ending at once would take the containers' grace away.
    for signal in [libc::SIGPIPE, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        sys::ignore_signal(signal);
    }
    sys::keep_heap_small();
    sys::setsid();
    // Modes of what is made are meant as written.
    sys::umask(0);
    match server::Shim::new() {
        Ok(mut shim) => shim.run(),
        Err(error) => error,
    }
}
