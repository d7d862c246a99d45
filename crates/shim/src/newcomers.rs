//! What starting processes say through their channels, until their commands are executed.
//!
//! Invariant: a process is known by what it says itself: one that is made in a PID namespace where others live has
//! another maker than the shim, which may end before or after it. Absent: making them.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use shim::Reply;

use crate::container::exit_code;
use crate::process::{SAYS_FAILED, SAYS_TERMINAL};
use crate::server::{Shim, Source};
use crate::sys;

/// Of a process that ended without a word.
const GONE_EARLY: &str = "killed before its command was executed";

impl Shim {
    /// Reads what starting processes said before their ends are looked at: some are known only by what they say.
    pub(crate) fn hear_newcomers(&mut self) {
        let starting = self.containers.iter().filter(|container| container.channel.is_some());
        let keys: Vec<u32> = starting.map(|container| container.key).collect();
        keys.into_iter().for_each(|key| self.on_channel(key));
        let starting = self.execs.iter().filter(|running| running.channel.is_some());
        let ids: Vec<u64> = starting.map(|running| running.exec).collect();
        ids.into_iter().for_each(|id| self.on_exec_channel(id));
    }

    /// Reads what a starting container says; the end of the channel is the execution of its command.
    pub(crate) fn on_channel(&mut self, key: u32) {
        loop {
            let Some(container) = self.by_key(key) else { return };
            let Some(channel) = container.channel.as_ref().map(AsRawFd::as_raw_fd) else { return };
            let (said, who) = listen(channel);
            container.heard_from(who);
            match said {
                Said::Nothing => return,
                Said::Alive => {}
                Said::Failed(why) => container.failed = Some(why),
                // Only whom none was given otherwise has one; who takes the channel over cannot exchange it.
                Said::Terminal(_) if container.outputs[0].is_some() => {}
                Said::Terminal(master) => {
                    let fd = master.as_raw_fd();
                    container.outputs[0] = sys::dup(fd).ok();
                    container.terminal = Some(master);
                    let output = container.outputs[0].as_ref().map(AsRawFd::as_raw_fd);
                    // Sets it for the writing duplicate too: they share one open file.
                    let _ = sys::set_nonblocking(fd);
                    self.watch_or_kill(key, output, Source::Output(key, 0));
                }
                Said::End => return self.conclude(key),
            }
        }
    }

    /// Nobody speaks through the channel any more: the command was executed, or who should have done it is gone.
    pub(crate) fn conclude(&mut self, key: u32) {
        let Some(container) = self.by_key(key) else { return };
        let Some(channel) = container.channel.take() else { return };
        if container.go_between {
            container.failed.get_or_insert_with(|| GONE_EARLY.to_owned());
        }
        container.started_at = sys::now();
        let reply = match &container.failed {
            Some(why) => Reply::Failed(why.clone()),
            None if container.request == 0 => Reply::Exited(container.state()),
            None => Reply::Started(container.pid, container.started_at),
        };
        let (request, pid) = (container.request, container.pid);
        self.unwatch(channel.as_raw_fd());
        drop(channel);
        self.reply(request, &reply, &[]);
        if pid == 0 {
            self.on_container_end(key, libc::SIGKILL);
        }
    }

    pub(crate) fn on_exec_channel(&mut self, exec: u64) {
        loop {
            let Some(running) = self.execs.iter_mut().find(|running| running.exec == exec) else { return };
            let Some(channel) = running.channel.as_ref().map(AsRawFd::as_raw_fd) else { return };
            let (said, who) = listen(channel);
            if running.go_between && who != 0 && who != running.pid {
                (running.pid, running.go_between) = (who, false);
                if running.doomed {
                    // It has not been reaped, or its end is told next.
                    let _ = sys::kill(who, libc::SIGKILL);
                }
            }
            match said {
                Said::Nothing => return,
                Said::Alive => {}
                Said::Failed(why) => running.failed = Some(why),
                Said::Terminal(master) => running.terminal = Some(master),
                Said::End => return self.conclude_exec(exec),
            }
        }
    }

    fn conclude_exec(&mut self, exec: u64) {
        let Some(running) = self.execs.iter_mut().find(|running| running.exec == exec) else { return };
        let Some(channel) = running.channel.take() else { return };
        if running.go_between {
            running.failed.get_or_insert_with(|| GONE_EARLY.to_owned());
        }
        let terminal = running.terminal.take();
        let reply = match &running.failed {
            Some(why) => Reply::Failed(why.clone()),
            None => Reply::Started(running.pid, sys::now()),
        };
        let (request, pid) = (running.request, running.pid);
        self.unwatch(channel.as_raw_fd());
        drop(channel);
        let fds: Vec<RawFd> = terminal.iter().map(AsRawFd::as_raw_fd).collect();
        self.reply(request, &reply, &fds);
        if pid == 0 {
            self.execs.retain(|running| running.exec != exec);
        }
    }

    pub(crate) fn on_exec_end(&mut self, exec: u64, status: i32) {
        // What it said was heard; another holder of the channel may only not have been scheduled yet.
        self.conclude_exec(exec);
        let Some(index) = self.execs.iter().position(|running| running.exec == exec) else { return };
        if self.execs.swap_remove(index).failed.is_none() {
            self.reply(0, &Reply::ExecExited(exec, exit_code(status)), &[]);
        }
    }
}

enum Said {
    Nothing,
    Alive,
    Failed(String),
    Terminal(OwnedFd),
    End,
}

/// The next thing a child said, and which one it was.
fn listen(channel: RawFd) -> (Said, libc::pid_t) {
    let mut buffer = Vec::with_capacity(4096);
    let mut fds = Vec::new();
    let (count, who) = match sys::receive_now(channel, &mut buffer, &mut fds) {
        Err(libc::EAGAIN | libc::EINTR) => return (Said::Nothing, 0),
        Ok((0, _)) | Err(_) => return (Said::End, 0),
        Ok(heard) => heard,
    };
    let said = match (buffer[0], fds.pop()) {
        (SAYS_FAILED, _) => Said::Failed(String::from_utf8_lossy(&buffer[1..count]).into_owned()),
        (SAYS_TERMINAL, Some(master)) => Said::Terminal(master),
        _ => Said::Alive,
    };
    (said, who)
}
