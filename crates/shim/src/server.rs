//! The one loop: the daemon's requests, the containers' output, children that end.
//!
//! Invariant: nothing here blocks; a daemon that does not read is disconnected and finds the state again on its next
//! connection. Absent: more than one daemon at a time (the newest wins).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{EPOLLERR, EPOLLIN};
use shim::{Exec, Hello, Reply, Request, Signal, Start};

use crate::container::{Container, Surroundings};
use crate::exec::{self, Running};
use crate::init::{self, Pause};
use crate::process;
use crate::rootfs::{failure, fd_of};
use crate::sys::{self, Errno};

/// Nearly never chosen when memory is short: the Pod's containers go first.
const OOM_SCORE: i32 = -998;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Listener,
    Daemon,
    Children,
    /// A container's channel until its command is executed.
    Channel(u32),
    ExecChannel(u64),
    Output(u32, usize),
    ClientEnd(u32, usize),
}

/// All the shim knows.
pub(crate) struct Shim {
    epoll: OwnedFd,
    /// By descriptor.
    sources: Vec<Option<Source>>,
    listener: OwnedFd,
    children: OwnedFd,
    proc: OwnedFd,
    null: Option<OwnedFd>,
    daemon: Option<OwnedFd>,
    early_fds: Vec<OwnedFd>,
    log_dir: Option<OwnedFd>,
    pause: Option<Pause>,
    pub(crate) containers: Vec<Container>,
    pub(crate) execs: Vec<Running>,
    next_key: u32,
    stopping: bool,
    /// Room for output, kept so that reading does not allocate.
    pub(crate) chunk: Vec<u8>,
}

impl Shim {
    pub(crate) fn new() -> Result<Self, Errno> {
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
        // SAFETY: inherited from the daemon by agreement, used by nobody else.
        let listener = unsafe { OwnedFd::from_raw_fd(shim::LISTEN_FD) };
        sys::set_cloexec(listener.as_raw_fd())?;
        let mut shim = Self {
            epoll: sys::epoll()?,
            sources: Vec::new(),
            listener,
            children: sys::child_signals()?,
            proc: sys::open("/proc", libc::O_PATH | libc::O_DIRECTORY)?,
            null: None,
            daemon: None,
            early_fds: Vec::new(),
            log_dir: None,
            pause: None,
            containers: Vec::new(),
            execs: Vec::new(),
            next_key: 0,
            stopping: false,
            chunk: Vec::new(),
        };
        shim.watch(shim.listener.as_raw_fd(), Source::Listener, EPOLLIN)?;
        shim.watch(shim.children.as_raw_fd(), Source::Children, EPOLLIN)?;
        Ok(shim)
    }

    /// Serves until told to end.
    pub(crate) fn run(&mut self) -> i32 {
        loop {
            let (fd, events) = match sys::wait(self.epoll.as_raw_fd()) {
                Ok(event) => event,
                Err(libc::EINTR) => continue,
                Err(error) => return error,
            };
            match self.sources.get(fd as usize).copied().flatten() {
                Some(Source::Listener) => self.on_connect(),
                Some(Source::Daemon) => self.on_request(),
                Some(Source::Children) => self.on_children(),
                Some(Source::Channel(key)) => self.on_channel(key),
                Some(Source::ExecChannel(exec)) => self.on_exec_channel(exec),
                Some(Source::Output(key, stream)) => self.on_output(key, stream),
                Some(Source::ClientEnd(key, stream)) if events & EPOLLERR != 0 => {
                    self.drop_client(key, stream, fd)
                }
                Some(Source::ClientEnd(key, stream)) => self.flush_clients(key, stream),
                None => {}
            }
            if self.stopping && self.containers.iter().all(|container| !container.running()) {
                return 0;
            }
        }
    }

    pub(crate) fn watch(&mut self, fd: RawFd, source: Source, events: i32) -> Result<(), Errno> {
        let index = fd as usize;
        if self.sources.len() <= index {
            self.sources.resize(index + 1, None);
        }
        let known = self.sources[index].is_some();
        sys::watch(self.epoll.as_raw_fd(), fd, Some(events), known)?;
        self.sources[index] = Some(source);
        Ok(())
    }

    pub(crate) fn unwatch(&mut self, fd: RawFd) {
        if self.sources.get_mut(fd as usize).and_then(Option::take).is_some() {
            // Still open, so this cannot fail; and a closed one would be gone from the set already.
            let _ = sys::watch(self.epoll.as_raw_fd(), fd, None, true);
        }
    }

    fn on_connect(&mut self) {
        let Ok(socket) = sys::accept(self.listener.as_raw_fd()) else { return };
        self.disconnect();
        if self.watch(socket.as_raw_fd(), Source::Daemon, EPOLLIN).is_err() {
            return;
        }
        self.daemon = Some(socket);
        // Their requests were numbered by another connection.
        self.containers.iter_mut().for_each(|container| container.request = 0);
        self.execs.iter_mut().for_each(|running| running.request = 0);
        let hello = Hello {
            version: shim::VERSION,
            pid: sys::getpid(),
            ready: self.log_dir.is_some(),
            pause_pid: self.pause.as_ref().map_or(0, |pause| pause.pid),
            containers: self
                .containers
                .iter()
                .filter(|container| container.channel.is_none())
                .map(Container::state)
                .collect(),
        };
        self.reply(0, &Reply::Hello(hello), &[]);
    }

    fn disconnect(&mut self) {
        if let Some(old) = self.daemon.take() {
            self.unwatch(old.as_raw_fd());
        }
        self.early_fds.clear();
    }

    pub(crate) fn reply(&mut self, request: u32, reply: &Reply, fds: &[RawFd]) {
        let Some(daemon) = &self.daemon else { return };
        let bytes = shim::frame(request, reply);
        let sent = if bytes.len() <= shim::INLINE_MAX {
            sys::send(daemon.as_raw_fd(), &bytes, fds)
        } else {
            sys::memfd().and_then(|file| {
                sys::write_all(file.as_raw_fd(), &bytes)?;
                let mut fds = fds.to_vec();
                fds.push(file.as_raw_fd());
                sys::send(daemon.as_raw_fd(), &shim::IN_MEMFD.to_le_bytes(), &fds)
            })
        };
        if sent.is_err() {
            self.disconnect();
        }
    }

    fn on_request(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        let mut buffer = Vec::with_capacity(shim::INLINE_MAX);
        let mut fds = std::mem::take(&mut self.early_fds);
        match sys::receive(daemon.as_raw_fd(), &mut buffer, &mut fds) {
            Ok(count) if count >= 4 => {}
            Err(libc::EAGAIN | libc::EINTR) => {
                self.early_fds = fds;
                return;
            }
            _ => return self.disconnect(),
        }
        let sequence = u32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        if sequence == shim::MORE_FDS {
            self.early_fds = fds;
            return;
        }
        if sequence == shim::IN_MEMFD {
            match fds.pop().ok_or(libc::EBADF).and_then(read_whole) {
                Ok(bytes) => buffer = bytes,
                Err(_) => return self.disconnect(),
            }
        }
        match shim::unframe::<Request>(&buffer) {
            Ok((sequence, request)) => self.handle(sequence, request, fds),
            Err(_) => self.disconnect(),
        }
        drop(buffer);
        // Requests are rare and large; between them the shim should cost next to nothing.
        sys::trim_memory();
    }

    fn handle(&mut self, request: u32, what: Request, fds: Vec<OwnedFd>) {
        let done = match what {
            Request::Init(init) => self.init(&init, &fds),
            Request::Start(start) => return self.start(request, &start, &fds),
            Request::Exec(exec) => return self.exec(request, &exec, &fds),
            Request::Signal(signal) => self.signal(&signal),
            Request::Attach(id, stdin) => return self.attach(request, &id, stdin),
            Request::Reopen(id) => self.reopen(&id),
            Request::Remove(id) => {
                self.forget(|container| container.id == id && !container.running());
                Ok(0)
            }
            Request::KillExec(exec) => {
                if let Some(running) = self.execs.iter_mut().find(|running| running.exec == exec) {
                    running.doomed = true;
                    // Not reaped yet, so the pid is still its own.
                    let _ = sys::kill(running.pid, libc::SIGKILL);
                }
                Ok(0)
            }
            Request::Shutdown => {
                self.shutdown();
                Ok(0)
            }
        };
        let reply = match done {
            Ok(value) => Reply::Done(value),
            Err(why) => Reply::Refused(why),
        };
        self.reply(request, &reply, &[]);
    }

    fn init(&mut self, init: &shim::Init, fds: &[OwnedFd]) -> Result<i64, String> {
        let log_dir = fd_of(fds, &init.log_dir).and_then(sys::dup).map_err(sys::describe)?;
        // As containerd's shims; without CAP_SYS_RESOURCE it stays as it is.
        let _ = process::set_oom_score(self.proc.as_raw_fd(), OOM_SCORE);
        self.pause = init::make_sandbox(init, fds, self.proc.as_raw_fd())?;
        let null = init::own_null().map_err(|error| failure("make", "/dev/null", error))?;
        self.null = Some(null);
        self.log_dir = Some(log_dir);
        Ok(self.pause.as_ref().map_or(0, |pause| i64::from(pause.pid)))
    }

    fn surroundings<'a>(&self, fds: &'a [OwnedFd]) -> Option<Surroundings<'a>> {
        Some(Surroundings {
            proc: self.proc.as_raw_fd(),
            null: self.null.as_ref()?.as_raw_fd(),
            pause: self.pause.as_ref().map(|pause| pause.namespace.as_raw_fd()),
            log_dir: self.log_dir.as_ref()?.as_raw_fd(),
            fds,
        })
    }

    fn start(&mut self, request: u32, start: &Start, fds: &[OwnedFd]) {
        // Asked before by a daemon that did not live to hear the answer: it goes to the one that asks now.
        if let Some(known) = self.by_id(&start.id) {
            if known.channel.is_some() {
                known.request = request;
                return;
            }
            let reply = Reply::Started(known.pid, known.started_at);
            return self.reply(request, &reply, &[]);
        }
        let Some(with) = self.surroundings(fds).filter(|_| !self.stopping) else {
            return self.reply(request, &Reply::Refused("the sandbox is not ready".into()), &[]);
        };
        self.next_key += 1;
        let key = self.next_key;
        let container = match Container::start(key, request, start, &with) {
            Ok(container) => container,
            Err(why) => return self.reply(request, &Reply::Failed(why), &[]),
        };
        let channel = container.channel.as_ref().map(AsRawFd::as_raw_fd);
        let outputs = [0, 1].map(|index: usize| container.outputs[index].as_ref().map(AsRawFd::as_raw_fd));
        self.containers.push(container);
        for (stream, output) in outputs.into_iter().enumerate() {
            self.watch_or_kill(key, output, Source::Output(key, stream));
        }
        self.watch_or_kill(key, channel, Source::Channel(key));
    }

    /// A container whose streams cannot be watched cannot be kept.
    pub(crate) fn watch_or_kill(&mut self, key: u32, fd: Option<RawFd>, source: Source) {
        if let Some(fd) = fd
            && self.watch(fd, source, EPOLLIN).is_err()
            && let Some(container) = self.by_key(key)
        {
            let _ = sys::kill(container.pid, libc::SIGKILL);
        }
    }

    fn exec(&mut self, request: u32, exec: &Exec, fds: &[OwnedFd]) {
        let container =
            self.containers.iter().find(|container| container.id == exec.id && container.running());
        let (Some(container), Some(with)) = (container, self.surroundings(fds)) else {
            return self.reply(request, &Reply::Refused("the container is not running".into()), &[]);
        };
        match exec::start(request, exec, container, &with) {
            Ok(running) => {
                let channel = running.channel.as_ref().map(AsRawFd::as_raw_fd);
                let (id, pid) = (running.exec, running.pid);
                self.execs.push(running);
                if let Some(channel) = channel
                    && self.watch(channel, Source::ExecChannel(id), EPOLLIN).is_err()
                {
                    let _ = sys::kill(pid, libc::SIGKILL);
                }
            }
            Err(why) => self.reply(request, &Reply::Failed(why), &[]),
        }
    }

    fn signal(&mut self, signal: &Signal) -> Result<i64, String> {
        let container = self.by_id(&signal.id).filter(|container| container.running());
        let container = container.ok_or("the container is not running")?;
        sys::kill(container.pid, signal.signal).map(|()| 0).map_err(sys::describe)
    }

    fn reopen(&mut self, id: &str) -> Result<i64, String> {
        let log_dir = self.log_dir.as_ref().ok_or("the sandbox is not ready")?.as_raw_fd();
        let container = self.by_id(id).ok_or("no such container")?;
        container.reopen_log(log_dir).map(|()| 0)
    }

    fn shutdown(&mut self) {
        self.stopping = true;
        for container in self.containers.iter().filter(|container| container.running()) {
            // Already ended ones are about to be reaped.
            let _ = sys::kill(container.pid, libc::SIGKILL);
            container.kill_rest();
        }
    }

    /// Drops an ended container. A client that lags may still have an end of it, whose number is the next one's.
    fn forget(&mut self, which: impl Fn(&Container) -> bool) {
        let Some(index) = self.containers.iter().position(which) else { return };
        let container = self.containers.swap_remove(index);
        for end in container.clients.iter().flat_map(|client| client.ends.iter().flatten()) {
            self.unwatch(end.as_raw_fd());
        }
    }

    pub(crate) fn by_id(&mut self, id: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.id == id)
    }

    pub(crate) fn by_key(&mut self, key: u32) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.key == key)
    }

    fn on_children(&mut self) {
        let mut information = [0; 128];
        while sys::read(self.children.as_raw_fd(), &mut information).is_ok() {}
        while let Some((pid, status)) = sys::reap() {
            self.hear_newcomers();
            if let Some(container) = self.containers.iter_mut().find(|item| item.pid == pid && item.running())
            {
                let key = container.key;
                if container.go_between && container.channel.is_some() {
                    // Whom it made holds the channel and will speak, or the channel ends.
                    container.pid = 0;
                } else {
                    self.on_container_end(key, status);
                }
            } else if let Some(running) = self.execs.iter_mut().find(|running| running.pid == pid) {
                if running.go_between && running.channel.is_some() {
                    running.pid = 0;
                } else {
                    let id = running.exec;
                    self.on_exec_end(id, status);
                }
            } else if self.pause.as_ref().is_some_and(|pause| pause.pid == pid) {
                // The Pod's PID namespace is dead and with it every process: a dead sandbox.
                self.shutdown();
            }
        }
    }

    pub(crate) fn on_container_end(&mut self, key: u32, status: i32) {
        self.on_channel(key);
        self.conclude(key);
        if let Some(container) = self.by_key(key) {
            container.kill_rest();
        }
        for stream in 0..2 {
            while self.read_output(key, stream) {}
            self.close_output(key, stream);
        }
        let Some(container) = self.by_key(key) else { return };
        container.finish_log();
        container.finish(status);
        let (failed, state) = (container.failed.is_some(), container.state());
        if failed {
            self.forget(|container| container.key == key);
        } else {
            for stream in 0..2 {
                self.flush_clients(key, stream);
            }
            self.reply(0, &Reply::Exited(state), &[]);
        }
    }
}

fn read_whole(file: OwnedFd) -> Result<Vec<u8>, Errno> {
    let size = sys::fstat(file.as_raw_fd())?.st_size as usize;
    let mut bytes = vec![0; size];
    let count = sys::pread(file.as_raw_fd(), &mut bytes)?;
    if count == size { Ok(bytes) } else { Err(libc::EIO) }
}
