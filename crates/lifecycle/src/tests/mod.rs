//! Scenarios in `src/cases/*.txt`, replayed in fake time: a command, then what the machine did about it.
//!
//! Every command starts with `> `; the lines below it are what happened. `UPDATE_EXPECT=1 cargo test -p lifecycle`
//! writes them anew, to be read in the diff.

mod world;

use std::fmt::Write as _;
use std::path::Path;

use world::World;

fn replay(text: &str) -> String {
    let mut world = World::default();
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            let _ = writeln!(out, "{line}");
        } else if let Some(command) = line.strip_prefix("> ") {
            let _ = writeln!(out, "{line}");
            world.command(command);
            for said in world.log.drain(..) {
                let _ = writeln!(out, "{said}");
            }
        }
    }
    out
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the scenarios are files, and the test may write them anew")]
fn scenarios() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cases");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let want = std::fs::read_to_string(&path).unwrap();
        let got = replay(&want);
        seen += 1;
        if got != want {
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(&path, &got).unwrap();
            } else {
                wrong.push(format!("--- {}\n{}", path.display(), first_difference(&want, &got)));
            }
        }
    }
    assert!(seen > 0, "no scenarios in {}", dir.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn first_difference(want: &str, got: &str) -> String {
    let mut last = "";
    for (i, pair) in want
        .lines()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(got.lines().map(Some).chain(std::iter::repeat(None)))
        .enumerate()
    {
        match pair {
            (None, None) => break,
            (a, b) if a != b => {
                return format!(
                    "line {}, after {last:?}\n  want: {}\n  got:  {}",
                    i + 1,
                    a.unwrap_or("(end)"),
                    b.unwrap_or("(end)")
                );
            }
            (a, _) => last = a.filter(|l| l.starts_with("> ")).unwrap_or(last),
        }
    }
    String::new()
}
