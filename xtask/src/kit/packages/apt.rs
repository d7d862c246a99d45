//! Debian packages. Invariant: no package of this machine is removed, up- or downgraded; what could only be installed
//! at such a price is unpacked under the target directory and runs from there.
//!
//! An unpacked program lies in [`tree`]; a wrapper of its name in [`bin`], which sets the library path, is written last
//! and so shows that the program is whole. Absent: configuration scripts, which unpacked packages do without.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell::{output, run, tools};

/// Options of every call: nobody is asked, no package is removed, another apt is waited for.
const OPTIONS: &[&str] = &[
    "-qq",
    "-y",
    "--no-install-recommends",
    "--no-remove",
    "-oDPkg::Lock::Timeout=300",
    "-oAPT::Sandbox::User=root",
];

/// What apt would do to install a package.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forecast {
    /// `NAME=VERSION` of everything that would be put in place.
    put: Vec<String>,
    /// Names of installed packages that would be removed or replaced by another version.
    disturbed: Vec<String>,
}

impl Forecast {
    /// Reads the answer of `apt-get --simulate install`.
    fn read(simulated: &str) -> Self {
        let mut forecast = Self::default();
        for line in simulated.lines() {
            let mut words = line.split(' ');
            let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
            match verb {
                "Inst" => {
                    let mut rest = words;
                    let mut next = rest.next().unwrap_or_default();
                    if next.starts_with('[') {
                        forecast.disturbed.push(name.to_owned());
                        next = rest.next().unwrap_or_default();
                    }
                    forecast.put.push(format!("{name}={}", next.trim_start_matches('(')));
                }
                "Remv" | "Purg" => forecast.disturbed.push(name.to_owned()),
                _ => {}
            }
        }
        forecast
    }
}

/// Makes a program available: installs its package, or unpacks it if that would disturb another.
///
/// # Errors
/// If apt knows no way to install the package, or cannot fetch it.
pub fn provide(program: &str, package: &str) -> Result<()> {
    // Without --no-remove: the removals are what is asked for.
    let simulated = output("apt-get", &["--simulate", "--no-install-recommends", "install", package])?;
    let forecast = Forecast::read(&simulated);
    if forecast.disturbed.is_empty() {
        return run("apt-get", &[OPTIONS, &["install", package]].concat());
    }
    say(&format!(
        "{package} is unpacked under {}, for its installation would disturb {}",
        tools().display(),
        forecast.disturbed.join(", ")
    ));
    let work = tempfile::tempdir_in(tools())?;
    download(&forecast.put, work.path())?;
    unpack(work.path(), &tree())?;
    wrap(program, &tree(), &bin())
}

/// Fetches packages, each `NAME` or `NAME=VERSION`, into a directory.
///
/// # Errors
/// If apt cannot fetch one of them.
pub fn download(packages: &[String], into: &Path) -> Result<()> {
    let script = "cd \"$0\" && exec apt-get \"$@\"";
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    run("sh", &[&["-c", script, text(into)?], OPTIONS, &["download"], &names].concat())
}

/// Unpacks every package file of a directory.
///
/// # Errors
/// If one cannot be unpacked.
pub fn unpack(from: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            run("dpkg-deb", &["-x", text(&path)?, text(into)?])?;
        }
    }
    Ok(())
}

/// Where packages are unpacked.
#[must_use]
pub fn tree() -> PathBuf {
    tools().join("debian")
}

/// Where the unpacked programs' wrappers lie.
#[must_use]
pub fn bin() -> PathBuf {
    tools().join("bin")
}

/// The places of programs within a root.
const PLACES: &[&str] = &["usr/bin", "usr/sbin", "bin", "sbin"];

/// The places of libraries within a root.
fn libraries() -> [String; 4] {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    [format!("usr/lib/{triplet}"), format!("lib/{triplet}"), "usr/lib".into(), "lib".into()]
}

/// An unpacked program itself, not its wrapper.
#[must_use]
pub fn unpacked(program: &str, tree: &Path) -> Option<PathBuf> {
    PLACES.iter().map(|place| tree.join(place).join(program)).find(|path| path.is_file())
}

/// The library path of unpacked programs.
#[must_use]
pub fn library_path(tree: &Path) -> String {
    libraries().map(|place| tree.join(place).display().to_string()).join(":")
}

/// Writes the wrapper of an unpacked program. It finds the tree from its own place, so both can be moved together.
///
/// # Errors
/// If the program is not in the tree, or `tree` and `bin` have not the same parent.
fn wrap(program: &str, tree: &Path, bin: &Path) -> Result<()> {
    let Some(path) = unpacked(program, tree) else { bail!("no {program} in {}", tree.display()) };
    let parent = bin.parent().context("a directory of tools")?;
    let (program_path, name) = (path.strip_prefix(parent)?, tree.strip_prefix(parent)?);
    let path = libraries().map(|place| format!("$here/{}/{place}", name.display())).join(":");
    let script = format!(
        "#!/bin/sh\nhere=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")\nLD_LIBRARY_PATH=\"{path}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\nexport LD_LIBRARY_PATH\nexec \"$here/{}\" \"$@\"\n",
        program_path.display()
    );
    fs::create_dir_all(bin)?;
    let mut file = tempfile::NamedTempFile::new_in(bin)?;
    std::io::Write::write_all(&mut file, script.as_bytes())?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755))?;
    file.persist(bin.join(program))?;
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a UTF-8 path")
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_apt_would_do() {
        let none: &[&str] = &[];
        for (simulated, put, disturbed) in [
            (
                "Inst cpio (2.13 Debian:12 [amd64])\nConf cpio (2.13 Debian:12 [amd64])\n",
                &["cpio=2.13"][..],
                none,
            ),
            (
                "Remv qemu-utils [1:10.0 bpo]\nInst seabios (1.16.2-1 Debian:12 [all])\nInst qemu (1:7.2 Debian:12 [amd64])\n",
                &["seabios=1.16.2-1", "qemu=1:7.2"],
                &["qemu-utils"],
            ),
            (
                "Inst libssl3 [3.0.15] (3.0.16 Debian:12 [amd64]) []\nInst runc (1.1 Debian:12 [amd64])\n",
                &["libssl3=3.0.16", "runc=1.1"],
                &["libssl3"],
            ),
            (
                "Purg busybox [1.35]\nInst busybox-static (1.35 Debian:12)\n",
                &["busybox-static=1.35"],
                &["busybox"],
            ),
            ("Reading package lists...\n\n0 upgraded, 0 newly installed\n", none, none),
        ] {
            let forecast = Forecast::read(simulated);
            assert_eq!(
                (&forecast.put[..], &forecast.disturbed[..]),
                (&owned(put)[..], &owned(disturbed)[..])
            );
        }
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn an_unpacked_program_runs_with_its_own_libraries() {
        let dir = tempfile::tempdir().unwrap();
        let (source, tools) = (dir.path().join("source"), dir.path().join("tools"));
        for place in ["DEBIAN", "usr/sbin"] {
            fs::create_dir_all(source.join(place)).unwrap();
        }
        fs::write(
            source.join("DEBIAN/control"),
            "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.org>\nDescription: d\n",
        )
        .unwrap();
        fs::write(source.join("usr/sbin/tool"), "#!/bin/sh\necho \"$1 $LD_LIBRARY_PATH\"\n").unwrap();
        fs::set_permissions(source.join("usr/sbin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        run("dpkg-deb", &["-b", text(&source).unwrap(), text(&dir.path().join("p.deb")).unwrap()]).unwrap();

        let (tree, bin) = (tools.join("debian"), tools.join("bin"));
        unpack(dir.path(), &tree).unwrap();
        assert!(wrap("other", &tree, &bin).is_err());
        wrap("tool", &tree, &bin).unwrap();

        let moved = dir.path().join("moved");
        fs::rename(&tools, &moved).unwrap();
        let output =
            Command::new(moved.join("bin/tool")).arg("word").env_remove("LD_LIBRARY_PATH").output().unwrap();
        let expected = format!("word {}\n", library_path(&moved.join("debian")));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}
