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
        "keyring" => keyring(),
        "watch" => watch(),
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

/// Says the serial number of its session keyring.
fn keyring() -> i32 {
    println!("{}", session_keyring());
    0
}

/// The serial number of this process's session keyring.
pub fn session_keyring() -> i64 {
    // SAFETY: KEYCTL_GET_KEYRING_ID (0) of KEY_SPEC_SESSION_KEYRING, making none.
    unsafe { libc::syscall(libc::SYS_keyctl, 0, libc::KEY_SPEC_SESSION_KEYRING, 0) }
}

/// Looks at every other process until /stop exists, and says what it has that this one has not: capabilities, open
/// files that are not streams.
fn watch() -> i32 {
    let own = capabilities("self").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    println!("watching");
    while !std::path::Path::new("/stop").exists() {
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = process.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_err() || name == std::process::id().to_string() {
                continue;
            }
            seen.extend(looked_at(&name, own));
        }
    }
    for line in &seen {
        println!("{line}");
    }
    println!("end");
    0
}

fn looked_at(process: &str, own: u64) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(theirs) = capabilities(process).filter(|set| set & !own != 0) {
        found.push(format!("capabilities {theirs:x}"));
    }
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    for link in files.filter_map(|file| std::fs::read_link(file.path()).ok()) {
        let text = link.to_string_lossy().into_owned();
        if !["pipe:", "socket:", "/dev/null"].iter().any(|start| text.starts_with(start)) {
            found.push(format!("open {text}"));
        }
    }
    found
}

fn capabilities(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
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
