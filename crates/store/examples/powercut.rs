//! The store under power cuts: what `cargo xtask vm` runs on disks that fail, in machines that are killed.
//!
//! `powercut write DIRECTORY` commits until it dies and prints each acknowledgement; a disk that refuses is only
//! counted, because nothing was acknowledged. `powercut verify DIRECTORY ACKNOWLEDGED` opens the store again,
//! compares it with those lines and prints the acknowledgement of one more write; it fails if an acknowledged write
//! is lost, a value is torn or a revision is used again. The last line may be cut off, and NULs may follow (it may
//! be read from a block device).

#![allow(clippy::unwrap_used, reason = "shares the tests' helpers, which may panic")]

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

#[path = "../tests/it/load.rs"]
mod load;
#[path = "../tests/it/value.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod value;

/// After a refused write the disk gets this long before the next try.
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", dir] => {
            let mut failed = 0u64;
            load::write(Path::new(dir), u64::MAX, &mut |error| {
                failed += 1;
                writeln!(std::io::stderr(), "failed {failed}: {error}").expect("stderr");
                std::thread::sleep(PAUSE);
            })
            .await;
        }
        ["verify", dir, acknowledged] => verify(Path::new(dir), Path::new(acknowledged)).await,
        _ => panic!("usage: powercut write DIRECTORY | verify DIRECTORY ACKNOWLEDGED"),
    }
}

async fn verify(dir: &Path, acknowledged: &Path) {
    let text = std::fs::read(acknowledged).expect("the acknowledgements");
    let text = String::from_utf8_lossy(&text);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut known = load::Acknowledged::default();
    let lines: Vec<&str> = whole.lines().filter(|line| line.starts_with("ack ")).collect();
    lines.iter().for_each(|line| _ = known.add(line));
    let before = known.newest();
    let more = known.check(dir).await;
    writeln!(std::io::stdout(), "{more}").expect("stdout");
    writeln!(std::io::stderr(), "{} acknowledged up to revision {before}, all there", lines.len())
        .expect("stderr");
}
