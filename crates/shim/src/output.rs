//! The containers' output on its way to the log and to attached clients.
//!
//! Invariant: a client that lags holds back the container's output, as upstream; one that is gone holds back nobody.
//! Absent: the streams of execs, which the daemon has in hand itself.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use libc::{EPOLLIN, EPOLLOUT};
use shim::Reply;

use crate::container::{Client, Container};
use crate::server::{Shim, Source};
use crate::sys::{self, Errno};

/// Bytes read at once from a container.
const CHUNK: usize = 16 * 1024;
/// Room asked for in an attached client's pipe.
const CLIENT_PIPE: i32 = 256 * 1024;

impl Shim {
    pub(crate) fn on_output(&mut self, key: u32, stream: usize) {
        self.read_output(key, stream);
    }

    /// Moves one chunk to the log and the clients; false when there is nothing (more) to read now.
    pub(crate) fn read_output(&mut self, key: u32, stream: usize) -> bool {
        let Some(container) = self.by_key(key) else { return false };
        let Some(output) = container.outputs[stream].as_ref().map(AsRawFd::as_raw_fd) else { return false };
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.reserve(CHUNK);
        let read = sys::read_some(output, &mut chunk);
        let Some(container) = self.by_key(key) else { return false };
        let more = match read {
            Ok(count) if count > 0 => {
                container.record(stream, &chunk);
                if !container.clients.is_empty() {
                    for client in &mut container.clients {
                        if client.ends[stream].is_some() {
                            client.pending[stream].extend_from_slice(&chunk);
                        }
                    }
                    self.flush_clients(key, stream);
                }
                true
            }
            Err(libc::EAGAIN | libc::EINTR) => false,
            // The end: of a pipe 0 bytes, of a terminal EIO.
            _ => {
                self.close_output(key, stream);
                false
            }
        };
        chunk.clear();
        self.chunk = chunk;
        more
    }

    pub(crate) fn close_output(&mut self, key: u32, stream: usize) {
        let Some(output) = self.by_key(key).and_then(|container| container.outputs[stream].take()) else {
            return;
        };
        self.unwatch(output.as_raw_fd());
        drop(output);
        self.flush_clients(key, stream);
    }

    /// Writes what clients have not got yet. While one lags, the container's output waits for it.
    pub(crate) fn flush_clients(&mut self, key: u32, stream: usize) {
        let Some(container) = self.by_key(key) else { return };
        let output = container.outputs[stream].as_ref().map(AsRawFd::as_raw_fd);
        let (mut closed, mut lagging) = (Vec::new(), Vec::new());
        for client in &mut container.clients {
            let Some(end) = client.ends[stream].as_ref().map(AsRawFd::as_raw_fd) else { continue };
            let pending = &mut client.pending[stream];
            let gone = loop {
                if pending.is_empty() {
                    break output.is_none();
                }
                match sys::write(end, pending) {
                    Ok(count) => drop(pending.drain(..count)),
                    Err(libc::EINTR) => {}
                    Err(libc::EAGAIN) => break false,
                    Err(_) => break true,
                }
            };
            if gone {
                closed.extend(client.ends[stream].take());
                pending.clear();
            } else if !pending.is_empty() {
                lagging.push(end);
            }
        }
        container.clients.retain(|client| client.ends.iter().any(Option::is_some));
        let ends: Vec<RawFd> = container
            .clients
            .iter()
            .filter_map(|client| client.ends[stream].as_ref().map(AsRawFd::as_raw_fd))
            .collect();
        for end in closed {
            self.unwatch(end.as_raw_fd());
        }
        for end in ends {
            // Errors (a closed other end) are reported in any case. Without the watch it is tried with the next output.
            let events = if lagging.contains(&end) { EPOLLOUT } else { 0 };
            let _ = self.watch(end, Source::ClientEnd(key, stream), events);
        }
        if let Some(output) = output {
            let events = if lagging.is_empty() { EPOLLIN } else { 0 };
            let _ = self.watch(output, Source::Output(key, stream), events);
        }
    }

    /// Forgets a client's stream whose other end was closed.
    pub(crate) fn drop_client(&mut self, key: u32, stream: usize, end: RawFd) {
        self.unwatch(end);
        let Some(container) = self.by_key(key) else { return };
        for client in &mut container.clients {
            if client.ends[stream].as_ref().is_some_and(|fd| fd.as_raw_fd() == end) {
                client.ends[stream] = None;
                client.pending[stream].clear();
            }
        }
        self.flush_clients(key, stream);
    }

    pub(crate) fn attach(&mut self, request: u32, id: &str, stdin: bool) {
        let Some(container) =
            self.by_id(id).filter(|container| container.running() && container.failed.is_none())
        else {
            return self.reply(request, &Reply::Refused("the container is not running".into()), &[]);
        };
        let key = container.key;
        match join_streams(container, stdin) {
            Ok((reply, fds)) => {
                let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
                self.reply(request, &reply, &raw);
                drop(fds);
                // From now on their closing is noticed.
                for stream in 0..2 {
                    self.flush_clients(key, stream);
                }
            }
            Err(error) => self.reply(request, &Reply::Refused(sys::describe(error)), &[]),
        }
    }
}

/// A new client's ends of a container's streams.
fn join_streams(container: &mut Container, stdin: bool) -> Result<(Reply, Vec<OwnedFd>), Errno> {
    let mut client = Client { ends: [None, None], pending: [Vec::new(), Vec::new()] };
    let mut fds = Vec::new();
    let mut has = [false; 4];
    let input = match (&container.terminal, &container.stdin) {
        (Some(master), _) if stdin => Some(sys::dup(master.as_raw_fd())?),
        // The only writer moves to the client, so that its end is the end of stdin.
        (None, Some(_)) if stdin && container.stdin_once => container.stdin.take(),
        (None, Some(pipe)) if stdin => Some(sys::dup(pipe.as_raw_fd())?),
        _ => None,
    };
    has[0] = input.is_some();
    fds.extend(input);
    for stream in 0..2 {
        if container.outputs[stream].is_none() {
            continue;
        }
        let (read, write) = sys::pipe(true)?;
        sys::set_nonblocking(write.as_raw_fd())?;
        // A smaller pipe only means more waiting.
        let _ = sys::set_pipe_size(write.as_raw_fd(), CLIENT_PIPE);
        client.ends[stream] = Some(write);
        has[stream + 1] = true;
        fds.push(read);
    }
    if let Some(master) = &container.terminal {
        has[3] = true;
        fds.push(sys::dup(master.as_raw_fd())?);
    }
    container.clients.push(client);
    Ok((Reply::Streams(has[0], has[1], has[2], has[3]), fds))
}
