//! What this program does inside a container (it is static, so it runs on any root): things busybox cannot.

use std::ffi::CString;

/// Runs a probe if this process was started as one; the exit code says what it found.
pub fn run(args: &[String]) -> Option<i32> {
    let ["probe", what, rest @ ..] = &args.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        return None;
    };
    Some(match *what {
        "hog" => hog(),
        "sem" => semaphore(rest[0]),
        "queue" => queue(rest[0]),
        "call" => call(rest[0]),
        _ => 99,
    })
}

/// Touches memory until it is killed.
fn hog() -> i32 {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1u8; 1 << 20]));
        if all.len() > 1 << 12 {
            return 98;
        }
    }
}

const KEY: i32 = 0x4d4b;

fn semaphore(mode: &str) -> i32 {
    let flags = if mode == "make" { libc::IPC_CREAT | libc::IPC_EXCL | 0o600 } else { 0 };
    // SAFETY: no memory involved.
    i32::from(unsafe { libc::semget(KEY, 1, flags) } < 0)
}

fn queue(mode: &str) -> i32 {
    let name = CString::new("/minke").unwrap();
    let flags = libc::O_RDWR | if mode == "make" { libc::O_CREAT | libc::O_EXCL } else { 0 };
    // SAFETY: a valid name; default attributes.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, std::ptr::null::<libc::mq_attr>()) };
    i32::from(queue < 0)
}

/// Makes a system call with zero arguments and tells its errno.
fn call(number: &str) -> i32 {
    // SAFETY: zero arguments make every call used here fail or do nothing.
    let done = unsafe { libc::syscall(number.parse().unwrap(), 0, 0, 0, 0, 0, 0) };
    if done < 0 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}
