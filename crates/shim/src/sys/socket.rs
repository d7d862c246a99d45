//! Sockets, pipes, and waiting on them.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use libc::{c_int, c_long, c_void};

use super::{Result, check, check_int, owned};

pub(crate) fn pipe(nonblocking_read: bool) -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: an array of two.
    check_int(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: two new descriptors.
    let pair = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    if nonblocking_read {
        set_nonblocking(pair.0.as_raw_fd())?;
    }
    Ok(pair)
}

pub(crate) fn set_nonblocking(fd: RawFd) -> Result<()> {
    // SAFETY: no memory involved.
    let flags = check_int(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

pub(crate) fn channel() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: an array of two.
    check_int(unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr())
    })?;
    // SAFETY: two new descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// From now on packets that arrive here tell who sent them.
pub(crate) fn tell_senders(socket: RawFd) -> Result<()> {
    let on: c_int = 1;
    let size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: a valid pointer to a value of the size given.
    check_int(unsafe {
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_PASSCRED, (&raw const on).cast(), size)
    })
    .map(drop)
}

pub(crate) fn accept(listener: RawFd) -> Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the peer's address is not asked for.
    owned(unsafe { libc::accept4(listener, null_mut(), null_mut(), flags) }.into())
}

/// Room for the descriptors of one packet, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 1024]);

/// Sends one packet with descriptors.
pub(crate) fn send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> Result<()> {
    let mut vector = libc::iovec { iov_base: bytes.as_ptr() as *mut c_void, iov_len: bytes.len() };
    let mut control = Control([0; 1024]);
    // SAFETY: plain data, zero is valid for every field.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let size = size_of_val(fds) as u32;
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: pure arithmetic.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
        // SAFETY: the control buffer has room for one header and up to 253 descriptors.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), size as usize);
        }
    }
    // SAFETY: all parts of the message live until the call returns.
    check(unsafe { libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL) as c_long }).map(drop)
}

/// Receives one packet into a buffer's spare room; 0 bytes is the end.
pub(crate) fn receive(socket: RawFd, buffer: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> Result<usize> {
    receive_with(socket, buffer, fds, 0).map(|(count, _)| count)
}

/// The same, with EAGAIN instead of waiting; also who sent it (0 if the socket does not tell), as this process's PID
/// namespace knows it.
pub(crate) fn receive_now(
    socket: RawFd,
    buffer: &mut Vec<u8>,
    fds: &mut Vec<OwnedFd>,
) -> Result<(usize, libc::pid_t)> {
    receive_with(socket, buffer, fds, libc::MSG_DONTWAIT)
}

fn receive_with(
    socket: RawFd,
    buffer: &mut Vec<u8>,
    fds: &mut Vec<OwnedFd>,
    flags: c_int,
) -> Result<(usize, libc::pid_t)> {
    let mut sender = 0;
    buffer.clear();
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.capacity() };
    let mut control = Control([0; 1024]);
    // SAFETY: plain data, zero is valid for every field.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: all parts of the message live until the call returns.
    let count =
        check(unsafe { libc::recvmsg(socket, &mut message, libc::MSG_CMSG_CLOEXEC | flags) as c_long })?;
    // SAFETY: the kernel filled the control buffer with well-formed headers; each descriptor is new and ours.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_CREDENTIALS {
                sender = libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned().pid;
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    if message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 {
        return Err(libc::EMSGSIZE);
    }
    // SAFETY: the kernel initialised that many bytes of the spare room.
    unsafe { buffer.set_len(count as usize) };
    Ok((count as usize, sender))
}

pub(crate) fn memfd() -> Result<OwnedFd> {
    // SAFETY: a valid string.
    owned(unsafe { libc::memfd_create(c"frame".as_ptr(), libc::MFD_CLOEXEC) }.into())
}

pub(crate) fn epoll() -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into())
}

/// Adds, changes (`None` removes) what is waited for on a descriptor.
pub(crate) fn watch(epoll: RawFd, fd: RawFd, events: Option<c_int>, known: bool) -> Result<()> {
    let mut event = libc::epoll_event { events: events.unwrap_or(0) as u32, u64: fd as u64 };
    let operation = match (events, known) {
        (None, _) => libc::EPOLL_CTL_DEL,
        (Some(_), false) => libc::EPOLL_CTL_ADD,
        (Some(_), true) => libc::EPOLL_CTL_MOD,
    };
    // SAFETY: a valid event.
    check_int(unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }).map(drop)
}

/// Waits for one event: the descriptor and what happened.
pub(crate) fn wait(epoll: RawFd) -> Result<(RawFd, c_int)> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    let count = check_int(unsafe { libc::epoll_wait(epoll, &mut event, 1, -1) })?;
    if count == 0 { Err(libc::EINTR) } else { Ok((event.u64 as RawFd, event.events as c_int)) }
}

pub(crate) fn set_pipe_size(fd: RawFd, size: c_int) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, size) }).map(drop)
}
