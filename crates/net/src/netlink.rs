//! Netlink: several requests in one datagram, their answers in order, and the walk over attributes.
//!
//! Invariant: after an exchange every answer to it was read or, being late, is recognised by its sequence number.
//! Absent: what the messages mean (`rtnl`, `nft`), asynchrony (one thread owns a socket).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Set in an error that carries attributes.
const ACK_TLVS: u16 = 0x200;
const NESTED: u16 = 0x8000;
/// Bytes of a message's header, and of the error code after it.
const HEADER: usize = 16;
/// The attribute of an error that holds the kernel's words.
const EXT_ACK_MESSAGE: u16 = 1;
/// Bytes that every socket can send at once.
const SEND_BUFFER: usize = 64 << 10;
/// The kernel answers while it works; only a lost answer takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests for one datagram, under construction.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each message begins.
    starts: Vec<usize>,
}

fn patch<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

impl Batch {
    /// Begins a message: its type, its flags beside `REQUEST`, its family's header.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(header);
        self.finish()
    }

    /// Adds an attribute to the message.
    pub(crate) fn attr(&mut self, kind: u16, data: &[u8]) -> &mut Self {
        let length = u16::try_from(data.len() + 4).expect("attributes here are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(data);
        self.finish()
    }

    /// Adds an attribute that holds a string with its final NUL.
    pub(crate) fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Adds an attribute with a number in network order, as nf_tables has them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds an attribute made of others.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.attr(kind | NESTED, &[]);
        inside(self);
        let length =
            u16::try_from(self.bytes.len() - start).expect("nested attributes are split before 64 KiB");
        patch(&mut self.bytes, start, length.to_ne_bytes());
        self
    }

    /// Adds bytes that are no attribute: a header within an attribute.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.finish()
    }

    /// Asks for an answer to the last message too.
    pub(crate) fn acknowledge(&mut self) -> &mut Self {
        if let Some(&start) = self.starts.last() {
            let flags = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]) | ACK;
            patch(&mut self.bytes, start + 6, flags.to_ne_bytes());
        }
        self
    }

    fn finish(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        if let Some(&start) = self.starts.last() {
            let length = u32::try_from(self.bytes.len() - start).expect("a message is short");
            patch(&mut self.bytes, start, length.to_ne_bytes());
        }
        self
    }

    /// The messages' types and the bytes after their headers, for tests of the encoding.
    #[cfg(test)]
    pub(crate) fn messages(&self) -> Vec<(u16, &[u8])> {
        let ends = self.starts.iter().skip(1).copied().chain([self.bytes.len()]);
        let message = |(&start, end): (&usize, usize)| {
            let kind = u16::from_ne_bytes([self.bytes[start + 4], self.bytes[start + 5]]);
            (kind, &self.bytes[start + HEADER..end])
        };
        self.starts.iter().zip(ends).map(message).collect()
    }
}

/// A socket of one netlink family, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Links, addresses, routes.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// nf_tables.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(fd.as_fd(), option)?;
        }
        Ok(Self { fd, sequence: 1, buffer: vec![0; 32 << 10] })
    }

    /// Sends messages that each ask for an answer and returns the first failure among them, by index. The kernel
    /// performs the others all the same.
    pub(crate) fn run(&mut self, mut batch: Batch) -> Result<(), (usize, io::Error)> {
        if batch.starts.is_empty() {
            return Ok(());
        }
        let first = self.number(&mut batch);
        self.send(&batch).map_err(|error| (0, error))?;
        let mut answered = 0;
        let mut failure = None;
        while answered < batch.starts.len() {
            self.receive(first, |message| {
                if let Some(result) = message.result() {
                    answered += 1;
                    failure = failure.take().or(result.err().map(|error| (message.index, error)));
                }
            })
            .map_err(|error| (answered, error))?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Sends a transaction, of which only the last message but one asks for an answer, and failures answer anyway.
    pub(crate) fn transact(&mut self, mut batch: Batch) -> io::Result<()> {
        let first = self.number(&mut batch);
        self.send(&batch)?;
        // The answer to the end or the beginning of a batch is about the batch.
        let (asked, last) = (batch.starts.len() - 2, batch.starts.len() - 1);
        let mut done = false;
        let mut failure = None;
        while !done {
            self.receive(first, |message| {
                if let Some(result) = message.result() {
                    done |= message.index == asked || message.index == 0 || message.index == last;
                    failure = failure.take().or(result.err());
                }
            })?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Asks for a list; each element is the bytes after a message's header.
    pub(crate) fn dump(&mut self, kind: u16, header: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.list(kind, DUMP, header)
    }

    /// Asks for one thing.
    pub(crate) fn get(&mut self, mut batch: Batch) -> io::Result<Vec<u8>> {
        let first = self.number(&mut batch);
        self.send(&batch)?;
        let mut found = None;
        while found.is_none() {
            self.receive(first, |message| {
                found = Some(match message.result() {
                    Some(Err(error)) => Err(error),
                    Some(Ok(())) => Err(io::ErrorKind::NotFound.into()),
                    None => Ok(message.payload.to_vec()),
                });
            })?;
        }
        found.expect("the loop ends with it")
    }

    fn list(&mut self, kind: u16, flags: u16, header: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut batch = Batch::default();
        batch.message(kind, flags, header);
        let first = self.number(&mut batch);
        self.send(&batch)?;
        let mut found = Vec::new();
        let mut ended = None;
        while ended.is_none() {
            self.receive(first, |message| match (message.kind, message.result()) {
                (DONE, _) => ended = Some(Ok(())),
                (_, Some(result)) => ended = Some(result),
                (_, None) => found.push(message.payload.to_vec()),
            })?;
        }
        ended.expect("the loop ends with it").map(|()| found)
    }

    fn number(&mut self, batch: &mut Batch) -> u32 {
        let first = self.sequence;
        for &start in &batch.starts {
            patch(&mut batch.bytes, start + 8, self.sequence.to_ne_bytes());
            self.sequence = self.sequence.wrapping_add(1);
        }
        first
    }

    fn send(&self, batch: &Batch) -> io::Result<()> {
        if batch.bytes.len() > SEND_BUFFER {
            // A whole table is one datagram. Twice as much as it, since the kernel counts its own part too.
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, 2 * batch.bytes.len())?;
        }
        rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, &batch.bytes, SendFlags::empty()))?;
        Ok(())
    }

    /// Reads one datagram and hands over its messages that answer to `first` or later.
    fn receive(&mut self, first: u32, mut each: impl FnMut(&Received<'_>)) -> io::Result<()> {
        let (length, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::empty())
        })?;
        let mut rest = &self.buffer[..length];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let word =
                |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let size = usize::try_from(word(0)).unwrap_or(usize::MAX).clamp(HEADER, rest.len());
            let message = Received {
                kind: u16::from_ne_bytes([header[4], header[5]]),
                flags: u16::from_ne_bytes([header[6], header[7]]),
                index: usize::try_from(word(8).wrapping_sub(first)).unwrap_or(usize::MAX),
                payload: &rest[HEADER..size],
            };
            // Behind `first`, the difference wraps around.
            if message.index < 1 << 30 {
                each(&message);
            }
            rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn enable(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let one: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("4");
    // SAFETY: the pointer and the size are those of a local integer, which the call only reads.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const one).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Received<'a> {
    kind: u16,
    flags: u16,
    index: usize,
    payload: &'a [u8],
}

impl Received<'_> {
    /// The verdict, if the message is one.
    fn result(&self) -> Option<io::Result<()>> {
        if self.kind != ERROR {
            return None;
        }
        let code = self.payload.first_chunk::<4>().map_or(-libc::EPROTO, |code| i32::from_ne_bytes(*code));
        if code == 0 {
            return Some(Ok(()));
        }
        let error = io::Error::from_raw_os_error(-code);
        // NETLINK_CAP_ACK: after the code comes the request's header only.
        let words = (self.flags & ACK_TLVS != 0).then(|| self.payload.get(4 + HEADER..)).flatten();
        let words = words.and_then(|attributes| find(attributes, EXT_ACK_MESSAGE)).map(text);
        Some(Err(match words {
            Some(words) => io::Error::new(error.kind(), Refusal { code: -code, words }),
            None => error,
        }))
    }
}

/// The kernel's refusal with its own words.
#[derive(Debug, thiserror::Error)]
#[error("{} ({words})", io::Error::from_raw_os_error(*code))]
struct Refusal {
    code: i32,
    words: String,
}

/// The error number behind an error of this module.
pub(crate) fn errno(error: &io::Error) -> i32 {
    let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
    refusal.map(|refusal| refusal.code).or(error.raw_os_error()).unwrap_or(0)
}

/// The attributes in these bytes: type and data.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let data = rest.get(4..length)?;
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some((kind, data))
    })
}

/// The first attribute of a type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, data)| data)
}

/// A string attribute's text.
pub(crate) fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_padded_and_measured() {
        let mut batch = Batch::default();
        batch.message(7, CREATE, &[9, 9]).text(1, "ab").nest(2, |inside| {
            inside.be32(3, 5);
        });
        batch.message(8, 0, &[]).acknowledge();
        let expect: &[u8] =
            &[9, 9, 0, 0, 7, 0, 1, 0, b'a', b'b', 0, 0, 12, 0, 2, 0x80, 8, 0, 3, 0, 0, 0, 0, 5];
        assert_eq!(batch.messages(), [(7, expect), (8, &[][..])]);
        assert_eq!(batch.bytes[..8], [40, 0, 0, 0, 7, 0, 1, 4]);
        assert_eq!(batch.bytes[40..48], [16, 0, 0, 0, 8, 0, 5, 0]);
        let found: Vec<_> = attributes(&expect[4..]).collect();
        assert_eq!(found, [(1, &b"ab\0"[..]), (2, &[8, 0, 3, 0, 0, 0, 0, 5][..])]);
    }

    #[test]
    fn damaged_attributes_end_the_walk() {
        for bytes in [&[3, 0, 1, 0][..], &[9, 0, 1, 0, 0], &[1], &[]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }
}
