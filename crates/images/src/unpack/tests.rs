//! Unpacking archives, harmless and malicious. Needs root, as unpacking does.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use super::*;

/// A member: path, type, link target or content, mode.
struct Entry<'a>(&'a str, tar::EntryType, &'a str, u32);

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;
const HARD: tar::EntryType = tar::EntryType::Link;
const CHAR: tar::EntryType = tar::EntryType::Char;

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for Entry(path, kind, text, mode) in entries {
        let mut header = tar::Header::new_gnu();
        // Written raw: the library refuses paths that escape.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(1_000_000);
        let content = if *kind == FILE { text.as_bytes() } else { b"" };
        header.set_size(content.len() as u64);
        match *kind {
            FILE => (),
            CHAR => {
                let (major, minor) = text.split_once(':').unwrap();
                header.set_device_major(major.parse().unwrap()).unwrap();
                header.set_device_minor(minor.parse().unwrap()).unwrap();
            }
            _ => header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes()),
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn unpack_in(data: &[u8], limits: Limits) -> (tempfile::TempDir, Result<(Unpacked, Digest), Error>) {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("fs")).unwrap();
    let result = unpack(data, &temp.path().join("fs"), None, None, limits);
    (temp, result)
}

fn opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value).is_ok_and(|n| &value[..n] == b"y")
}

#[test]
fn a_layer_keeps_its_attributes() {
    let data = archive(&[
        Entry("./", DIR, "", 0o755),
        Entry("bin/", DIR, "", 0o750),
        Entry("bin/tool", FILE, "hello", 0o4755),
        Entry("bin/same", HARD, "bin/tool", 0o4755),
        Entry("sh", LINK, "/bin/tool", 0o777),
        Entry("deep/er/file", FILE, "x", 0o600),
        Entry("/abs", FILE, "y", 0o644),
        Entry("bin/tool2", FILE, "old", 0o644),
        Entry("bin/tool2", FILE, "new", 0o644),
    ]);
    let (temp, result) = unpack_in(&data, Limits::default());
    let (unpacked, diff_id) = result.unwrap();
    let fs = temp.path().join("fs");
    let meta = |path: &str| std::fs::symlink_metadata(fs.join(path)).unwrap();
    let tool = meta("bin/tool");
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.mtime()), (0o4755, 1000, 1001, 1_000_000));
    assert_eq!(tool.ino(), meta("bin/same").ino());
    assert_eq!((meta("bin").mode() & 0o7777, meta("bin").mtime()), (0o750, 1_000_000));
    assert_eq!(std::fs::read_link(fs.join("sh")).unwrap(), Path::new("/bin/tool"));
    assert_eq!(std::fs::read(fs.join("abs")).unwrap(), b"y");
    assert_eq!(std::fs::read(fs.join("bin/tool2")).unwrap(), b"new");
    assert_eq!(unpacked.implicit, [PathBuf::from("deep"), PathBuf::from("deep/er")]);
    assert_eq!(diff_id, Digest::of(&data));
}

#[test]
fn whiteouts_become_overlayfs_ones() {
    let data = archive(&[
        Entry("a/", DIR, "", 0o755),
        Entry("a/.wh.gone", FILE, "", 0o644),
        Entry("b/", DIR, "", 0o755),
        Entry("b/.wh..wh..opq", FILE, "", 0o644),
        Entry("b/new", FILE, "", 0o644),
        // A directory replaced by one of the same name, in both orders.
        Entry(".wh.c", FILE, "", 0o644),
        Entry("c/", DIR, "", 0o755),
        Entry("d/", DIR, "", 0o755),
        Entry(".wh.d", FILE, "", 0o644),
        Entry(".wh..wh.plnk", FILE, "", 0o644),
        Entry("e", CHAR, "0:0", 0),
    ]);
    let (temp, result) = unpack_in(&data, Limits::default());
    result.unwrap();
    let fs = temp.path().join("fs");
    for path in ["a/gone", "e"] {
        let meta = std::fs::symlink_metadata(fs.join(path)).unwrap();
        assert!(meta.file_type().is_char_device() && meta.rdev() == 0, "{path}");
    }
    assert!(
        opaque(&fs.join("b")) && opaque(&fs.join("c")) && opaque(&fs.join("d")) && !opaque(&fs.join("a"))
    );
    assert!(!fs.join("wh.plnk").exists() && !fs.join("a/.wh.gone").exists());
}

#[test]
fn malicious_layers_are_refused_and_change_nothing_outside() {
    let cases: &[(&[Entry], &str)] = &[
        (&[Entry("../evil", FILE, "x", 0o644)], "\"../evil\": refused: the path escapes the layer"),
        (&[Entry("a/../../evil", FILE, "x", 0o644)], "escapes the layer"),
        (&[Entry("x", HARD, "../outside", 0o644)], "escapes the layer"),
        (&[Entry("x", HARD, "missing", 0o644)], "hard link to \"missing\""),
        (&[Entry(".wh...", FILE, "", 0o644)], "a whiteout of nothing"),
        (&[Entry("f", FILE, "", 0o644), Entry("f/g", FILE, "", 0o644)], "\"f/g\""),
        (&[Entry("l", LINK, "nowhere", 0o777), Entry("l/x", FILE, "", 0o644)], "\"l/x\""),
        (&[Entry("./", FILE, "", 0o644)], "root must be a directory"),
    ];
    for (entries, want) in cases {
        let (temp, result) = unpack_in(&archive(entries), Limits::default());
        let message = result.map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(want), "{message:?} should say {want:?}");
        let outside: Vec<_> =
            std::fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(outside, ["fs"], "{want}");
    }
}

#[test]
fn device_nodes_are_left_out_and_ways_back_stay_inside() {
    let data = archive(&[
        Entry("dev/", DIR, "", 0o755),
        Entry("dev/console", CHAR, "5:1", 0o600),
        Entry("dev/sda", tar::EntryType::Block, "", 0o660),
        Entry("dev/initctl", tar::EntryType::Fifo, "", 0o600),
        Entry("file", FILE, "replaced", 0o644),
        Entry("file", CHAR, "1:1", 0o666),
        Entry("a/../b/./c", FILE, "inside", 0o644),
        Entry("link", HARD, "x/../b/c", 0o644),
    ]);
    let (temp, result) = unpack_in(&data, Limits::default());
    result.unwrap();
    let fs = temp.path().join("fs");
    for path in ["dev/console", "dev/sda", "file"] {
        let meta = std::fs::symlink_metadata(fs.join(path)).unwrap();
        assert!(meta.file_type().is_char_device() && meta.rdev() == 0, "{path} is nothing to overlayfs");
    }
    assert!(std::fs::symlink_metadata(fs.join("dev/initctl")).unwrap().file_type().is_fifo());
    assert_eq!(std::fs::read(fs.join("b/c")).unwrap(), b"inside");
    assert_eq!(std::fs::read(fs.join("link")).unwrap(), b"inside");
    assert!(!fs.join("a").exists());
}

#[test]
fn symlinks_lead_nowhere_but_into_the_layer() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("kept"), "kept").unwrap();
    let target = outside.path().to_str().unwrap();
    let inside = target.trim_start_matches('/').to_owned() + "/";
    let up = format!("../../../../../../..{target}");
    let data = archive(&[
        Entry(&inside, DIR, "", 0o755),
        Entry("l", LINK, target, 0o777),
        Entry("l/kept", FILE, "evil", 0o644),
        Entry("up", LINK, &up, 0o777),
        Entry("up/more", FILE, "evil", 0o644),
    ]);
    let (temp, result) = unpack_in(&data, Limits::default());
    result.unwrap();
    assert_eq!(std::fs::read(outside.path().join("kept")).unwrap(), b"kept");
    assert!(!outside.path().join("more").exists());
    assert_eq!(std::fs::read(temp.path().join("fs").join(&inside).join("kept")).unwrap(), b"evil");
    assert_eq!(std::fs::read(temp.path().join("fs").join(&inside).join("more")).unwrap(), b"evil");
}

#[test]
fn bombs_truncation_and_wrong_digests() {
    use std::io::Write as _;
    let zeros = "\0".repeat(4 << 20);
    let plain = archive(&[Entry("big", FILE, &zeros, 0o644)]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&plain).unwrap();
    let gz = gz.finish().unwrap();
    let small = Limits { layer_bytes: 1 << 20, ..Limits::default() };
    let ratio = Limits { ratio: 10, ratio_from: 1 << 20, ..Limits::default() };
    let entries = Limits { layer_entries: 0, ..Limits::default() };
    for (limits, want) in
        [(small, "more than the 1048576 bytes"), (ratio, "decompression bomb"), (entries, "entries allowed")]
    {
        let message = unpack_in(&gz, limits).1.map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(want), "{message:?} should say {want:?}");
    }
    for cut in [gz.len() / 2, gz.len() - 4] {
        assert!(unpack_in(&gz[..cut], Limits::default()).1.is_err(), "cut at {cut}");
    }
    assert!(
        unpack_in(&plain[..plain.len() / 2], Limits::default())
            .1
            .unwrap_err()
            .to_string()
            .contains("truncated")
    );

    let temp = tempfile::tempdir().unwrap();
    let wrong = Digest::of(b"other");
    let run = |blob: Option<&Digest>, diff: Option<&Digest>| {
        let to = tempfile::tempdir_in(temp.path()).unwrap();
        unpack(&gz[..], to.path(), blob, diff, Limits::default())
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    run(Some(&Digest::of(&gz)), Some(&Digest::of(&plain))).unwrap();
    for (blob, diff) in [(Some(&wrong), None), (None, Some(&wrong))] {
        assert!(run(blob, diff).unwrap_err().contains("wrong digest: expected sha256:"));
    }
    // A truncated blob is reported as what it is: not what was asked for.
    let to = tempfile::tempdir_in(temp.path()).unwrap();
    let error = unpack(&gz[..100], to.path(), Some(&Digest::of(&gz)), None, Limits::default()).unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[test]
fn xattrs() {
    let make = |name: &str, value: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        builder
            .append_pax_extensions([(&*format!("SCHILY.xattr.{name}"), value), ("mtime", b"5.5")])
            .unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o755);
        builder.append_data(&mut header, "f", &b""[..]).unwrap();
        builder.into_inner().unwrap()
    };
    // Version 2, CAP_DAC_OVERRIDE and CAP_FOWNER: the bits are a newline.
    let capability = [1, 0, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (temp, result) = unpack_in(&make("security.capability", &capability), Limits::default());
    result.unwrap();
    let mut value = [0; 64];
    let n = rustix::fs::lgetxattr(temp.path().join("fs/f"), "security.capability", &mut value).unwrap();
    assert_eq!(value[..n], capability);
    let meta = std::fs::metadata(temp.path().join("fs/f")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (5, 500_000_000));
    let error = unpack_in(&make("trusted.overlay.redirect", b"/etc"), Limits::default()).1.unwrap_err();
    assert!(error.to_string().contains("overlayfs's own attributes"), "{error}");
}

#[test]
fn unnamed_directories_inherit_from_below() {
    let temp = tempfile::tempdir().unwrap();
    let layer = |name: &str, entries: &[Entry]| {
        let to = temp.path().join(name);
        std::fs::create_dir(&to).unwrap();
        (unpack(&archive(entries)[..], &to, None, None, Limits::default()).unwrap().0, to)
    };
    let (_, low) = layer("low", &[Entry("./", DIR, "", 0o711), Entry("var/", DIR, "", 0o1777)]);
    let (upper, up) = layer("up", &[Entry("var/x", FILE, "", 0o644), Entry("new/y", FILE, "", 0o644)]);
    inherit(&up, &upper.implicit, &[low]).unwrap();
    let meta = |path: &str| std::fs::metadata(up.join(path)).unwrap();
    assert_eq!(
        (meta("").mode() & 0o7777, meta("var").mode() & 0o7777, meta("new").mode() & 0o7777),
        (0o711, 0o1777, 0o755)
    );
    assert_eq!((meta("var").uid(), meta("new").uid()), (1000, 0));
}
