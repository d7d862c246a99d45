//! Lines, windows of a file, following across rotation, and which instance is meant.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::line::{Writer, parse};
use super::*;

const LOG: &str = "\
2024-01-01T00:00:01.000000001Z stdout F one
2024-01-01T00:00:02.5Z stderr P tw
2024-01-01T00:00:02.6Z stderr F o
2024-01-01T01:00:03+01:00 stdout F three
";

fn query(text: &str) -> Query {
    let pairs: Vec<_> = text.split_terminator('&').filter_map(|p| p.split_once('=')).collect();
    let pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Query::from_pairs(&pairs, Timestamp::parse("2024-01-01T00:00:04Z").unwrap()).unwrap()
}

async fn whole(path: &Path, query: &Query) -> String {
    let (send, mut receive) = mpsc::channel(4);
    let reading = read(path, query, || false, send);
    let collecting = async {
        let mut all = Vec::new();
        while let Some(bytes) = receive.recv().await {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8(all).unwrap()
    };
    let (result, text) = tokio::join!(reading, collecting);
    result.unwrap();
    text
}

#[test]
fn lines() {
    let good = parse(b"2024-01-01T00:00:01Z stderr P:x a b ").unwrap();
    assert_eq!((good.stream, good.partial, good.text), (Stream::Stderr, true, &b"a b "[..]));
    assert_eq!(parse(b"2024-01-01T00:00:01Z stdout F ").unwrap().text, b"");
    for (bad, want) in [
        (&b""[..], "stream type is not found"),
        (b"x stdout F y", "unexpected timestamp format"),
        (b"2024-01-01T00:00:01Z stdin F y", "unexpected stream type"),
        (b"2024-01-01T00:00:01Z stdout", "log tag is not found"),
        (b"2024-01-01T00:00:01Z stdout F", "log content is not found"),
    ] {
        assert_eq!(parse(bad).unwrap_err(), want);
    }
}

#[tokio::test]
async fn windows() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("0.log");
    std::fs::write(&path, format!("{LOG}damaged\n")).unwrap();
    let cases = [
        ("", "one\ntwo\nthree\n"),
        ("tailLines=0", ""),
        ("tailLines=2", "three\n"),
        ("tailLines=3", "o\nthree\n"),
        ("tailLines=99", "one\ntwo\nthree\n"),
        ("limitBytes=5", "one\nt"),
        ("limitBytes=0", ""),
        ("sinceSeconds=2", "two\nthree\n"),
        ("sinceTime=2024-01-01T00:00:02.55Z", "o\nthree\n"),
        ("stream=Stdout", "one\nthree\n"),
        ("stream=All&tailLines=2&timestamps=true", "2024-01-01T00:00:03.000000000Z three\n"),
        ("timestamps=1&limitBytes=40", "2024-01-01T00:00:01.000000001Z one\n2024-"),
        (
            "timestamps=true",
            "2024-01-01T00:00:01.000000001Z one\n2024-01-01T00:00:02.500000000Z two\n2024-01-01T00:00:03.000000000Z three\n",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(whole(&path, &query(text)).await, want, "{text}");
    }
    std::fs::write(&path, "2024-01-01T00:00:01Z stdout F no newline").unwrap();
    assert_eq!(whole(&path, &query("")).await, "no newline\n");
    assert!(read(&temp.path().join("none"), &query(""), || false, mpsc::channel(1).0).await.is_err());
}

#[test]
fn a_long_file_is_cut_at_the_right_line() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("0.log");
    let lines: Vec<String> = (0..9000).map(|n| format!("2024-01-01T00:00:01Z stdout F {n:0>20}\n")).collect();
    std::fs::write(&path, lines.concat()).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    for tail in [1, 2, 1000, 4096, 8999, 9000, 9001] {
        let want: usize = lines[9000_usize.saturating_sub(tail)..].iter().map(String::len).sum();
        let whole = file.metadata().unwrap().len();
        assert_eq!(whole - follow::tail_start(&file, tail as u64).unwrap(), want as u64, "{tail}");
    }
}

#[test]
fn a_limit_cuts_exactly() {
    let mut writer = Writer::new(&query("limitBytes=4"));
    let line = parse(b"2024-01-01T00:00:01Z stdout F ab").unwrap();
    let mut out = Vec::new();
    assert!(writer.write(&line, &mut out));
    assert!(!writer.write(&line, &mut out));
    assert_eq!(out, b"ab\na");
}

#[tokio::test]
async fn following_crosses_rotation_and_ends_with_the_container() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("0.log");
    let append = |text: &str| {
        let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        write!(file, "2024-01-01T00:00:01Z stdout F {text}").unwrap();
    };
    append("a\n");
    let alive = Arc::new(AtomicBool::new(true));
    let running = {
        let alive = alive.clone();
        move || alive.load(Ordering::SeqCst)
    };
    let (send, mut receive) = mpsc::channel(4);
    let task = {
        let path = path.clone();
        tokio::spawn(async move { read(&path, &query("follow=true"), running, send).await })
    };
    assert_eq!(receive.recv().await.unwrap(), "a\n");
    append("half");
    std::fs::File::options().append(true).open(&path).unwrap().write_all(b" line\n").unwrap();
    assert_eq!(receive.recv().await.unwrap(), "half line\n");
    std::fs::rename(&path, temp.path().join("0.log.20240101-000000")).unwrap();
    append("b\n");
    assert_eq!(receive.recv().await.unwrap(), "b\n");
    append("c\n");
    alive.store(false, Ordering::SeqCst);
    assert_eq!(receive.recv().await.unwrap(), "c\n");
    assert!(receive.recv().await.is_none());
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn following_ends_when_nobody_listens() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("0.log");
    std::fs::write(&path, LOG).unwrap();
    let (send, receive) = mpsc::channel(1);
    let task = tokio::spawn(async move { read(&path, &query("follow=true"), || true, send).await });
    drop(receive);
    task.await.unwrap().unwrap();
}

#[test]
fn which_instance() {
    let entry = |status: Value| PodEntry {
        pod: Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}}),
            )
            .unwrap(),
        ),
        sandbox: None,
        containers: BTreeMap::new(),
        log_dir: PathBuf::new(),
    };
    let status = |state: Value, last: Value| {
        json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
               "containerID": "minke://now", "state": state, "lastState": last})
    };
    let ended = |id: &str| json!({"terminated": {"exitCode": 0, "containerID": id}});
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let none = json!({});
    let cases = [
        (status(json!({"running": {}}), none.clone()), false, Ok("now")),
        (status(json!({"running": {}}), ended("minke://old")), true, Ok("old")),
        (
            status(json!({"running": {}}), none.clone()),
            true,
            Err("previous terminated container \"c\" in pod \"p\" not found"),
        ),
        (status(ended("minke://x"), none.clone()), false, Ok("x")),
        (status(ended(""), ended("minke://old")), false, Ok("old")),
        (status(ended(""), none.clone()), false, Err("container \"c\" in pod \"p\" is terminated")),
        (status(waiting("CrashLoopBackOff"), ended("minke://old")), false, Ok("old")),
        (
            status(waiting("ContainerCreating"), none.clone()),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
        ),
        (
            status(waiting("ErrImagePull"), none.clone()),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
        ),
        (
            status(waiting("ImagePullBackOff"), none.clone()),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"),
        ),
    ];
    for (status, previous, want) in cases {
        let found = select(&entry(status.clone()), "c", previous);
        assert_eq!(found.as_deref().map_err(String::as_str), want, "{status}");
    }
    let other = select(&entry(status(none.clone(), none)), "d", false);
    assert_eq!(other.unwrap_err(), "container \"d\" in pod \"p\" is not available");
}

#[test]
fn directories_fit_a_file_system() {
    assert_eq!(super::directory("ns", "web", "u-1"), "ns_web_u-1");
    let (ns, name, uid) = ("n".repeat(63), "m".repeat(253), "u".repeat(36));
    let long = super::directory(&ns, &name, &uid);
    assert!(long.len() == 255 && long.starts_with(&ns) && long.ends_with(&format!("m_{uid}")), "{long}");
}
