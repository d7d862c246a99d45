//! Exec and attach, with pipes and terminals.

use std::time::Duration;

use runtime::{ExecSpec, Runtime, RuntimeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Kit, container};

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

async fn until_said(stream: &mut (impl tokio::io::AsyncRead + Unpin), wanted: &str) -> String {
    let mut said = Vec::new();
    let mut chunk = [0; 256];
    while !String::from_utf8_lossy(&said).contains(wanted) {
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "ended after {:?}, waiting for {wanted:?}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(said).unwrap()
}

pub async fn exec_collects(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut spec = container(&["sleep", "1000"]);
    spec.user.spec = "app".into();
    spec.env = words(&["FOO=bar"]);
    let id = kit.start(&sandbox, spec).await;
    let script = "echo $FOO $(id -u) $(hostname); echo bad >&2; cat /proc/1/comm; exit 4";
    let output = kit.rt().exec_sync(&id, words(&["sh", "-c", script]), None).await.unwrap();
    assert_eq!(output.exit_code, 4);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "bar 1000 pod-host\nsleep\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "bad\n");
    let error = kit.rt().exec_sync(&id, words(&["nosuch"]), None).await.unwrap_err();
    assert_eq!(error.to_string(), "exec: \"nosuch\": executable file not found in $PATH");
    let big = kit.rt().exec_sync(&id, words(&["sh", "-c", "yes | head -c 300000"]), None).await.unwrap();
    assert_eq!(big.stdout.len(), 16 * 1024);
    kit.rt().stop_container(&id, Duration::ZERO).await.unwrap();
    let error = kit.rt().exec_sync(&id, words(&["true"]), None).await.unwrap_err();
    assert!(matches!(error, RuntimeError::State(_)), "{error}");
}

pub async fn exec_times_out(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    let limit = Duration::from_millis(100);
    let error =
        kit.rt().exec_sync(&id, words(&["sh", "-c", "sleep 77 & sleep 77"]), Some(limit)).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Timeout(_)), "{error}");
    kit.until(async || {
        let left =
            kit.rt().exec_sync(&id, words(&["sh", "-c", "ps | grep -q '[s]leep 77'"]), None).await.unwrap();
        (left.exit_code == 1).then_some(())
    })
    .await;
}

pub async fn exec_with_stdin(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    let spec = ExecSpec { command: words(&["cat"]), tty: false, stdin: true };
    let mut session = kit.rt().exec(&id, spec).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let sent = vec![b'x'; 200_000];
    let copy = sent.clone();
    let writing = tokio::spawn(async move { stdin.write_all(&copy).await.unwrap() });
    let mut got = Vec::new();
    session.stdout.read_to_end(&mut got).await.unwrap();
    writing.await.unwrap();
    assert_eq!(got, sent);
    assert_eq!(session.exit.await.unwrap(), 0);
}

pub async fn exec_terminal(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    let spec = ExecSpec { command: words(&["sh"]), tty: true, stdin: true };
    let mut session = kit.rt().exec(&id, spec).await.unwrap();
    session.resize.as_ref().unwrap()(123, 45);
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"tty; stty size; echo do''ne\n").await.unwrap();
    let said = until_said(&mut session.stdout, "done").await;
    assert!(said.contains("/dev/pts/") && said.contains("45 123"), "{said:?}");
    stdin.write_all(b"exit 5\n").await.unwrap();
    assert_eq!(session.exit.await.unwrap(), 5);
    let mut rest = Vec::new();
    session.stdout.read_to_end(&mut rest).await.unwrap();
}

pub async fn attach_stdin_once(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut spec = container(&["sh", "-c", "cat; echo over >&2"]);
    (spec.stdin, spec.stdin_once) = (true, true);
    let id = kit.start(&sandbox, spec).await;
    let mut session = kit.rt().attach(&id, true).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(until_said(&mut session.stdout, "\n").await, "hello\n");
    drop(stdin);
    assert_eq!(session.exit.await.unwrap(), 0);
    let mut rest = Vec::new();
    session.stderr.unwrap().read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"over\n");
    assert_eq!(kit.text("c/0.log", "stdout"), "hello\n");
}

fn open_in(process: i32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

pub async fn attach_leaves_nothing(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    let shim = kit.rt().sandboxes(None).await.unwrap()[0].pid.unwrap();
    let before = open_in(shim);
    for _ in 0..20 {
        drop(kit.rt().attach(&id, false).await.unwrap());
    }
    kit.until(async || (open_in(shim) == before).then_some(())).await;
    kit.rt().remove_container(&id).await.unwrap();
    kit.until(async || (open_in(shim) < before).then_some(())).await;
}

/// A client that does not read holds the container back; nothing is lost for it or the log.
pub async fn attach_slowly(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut spec = container(&["sh", "-c", "read go; seq 1 200000"]);
    spec.stdin = true;
    let id = kit.start(&sandbox, spec).await;
    let mut session = kit.rt().attach(&id, true).await.unwrap();
    session.stdin.take().unwrap().write_all(b"go\n").await.unwrap();
    let mut seen = 0;
    kit.until(async || {
        let now = kit.log("c/0.log").len();
        let stalled = now == seen && now > 0;
        seen = now;
        stalled.then_some(())
    })
    .await;
    let mut text = String::new();
    session.stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(session.exit.await.unwrap(), 0);
    let expect: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(text == expect, "{} of {} bytes", text.len(), expect.len());
    assert!(kit.text("c/0.log", "stdout") == expect);
}

/// Who has not read to the end when the container is removed is in nobody's way: whoever gets the numbers of its
/// descriptors is watched.
pub async fn attach_outlives_removal(kit: Kit) {
    let sandbox = kit.sandbox().await;
    // Slightly more than the client's pipe holds, and little enough to end with nobody reading.
    let mut spec = container(&["sh", "-c", "read go; seq 1 48000"]);
    spec.stdin = true;
    let id = kit.start(&sandbox, spec).await;
    let mut session = kit.rt().attach(&id, true).await.unwrap();
    session.stdin.take().unwrap().write_all(b"go\n").await.unwrap();
    assert_eq!(kit.ended(&id).await.exit_code, 0);
    kit.rt().remove_container(&id).await.unwrap();
    // As the first, so that the numbers are given in the same order.
    let mut spec = container(&["sleep", "1000"]);
    spec.stdin = true;
    let id = kit.start(&sandbox, spec).await;
    let shim = kit.rt().sandboxes(None).await.unwrap()[0].pid.unwrap();
    let before = open_in(shim);
    for _ in 0..3 {
        drop(kit.rt().attach(&id, true).await.unwrap());
        kit.until(async || (open_in(shim) == before).then_some(())).await;
    }
    drop(session);
}

pub async fn attach_terminal(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut spec = container(&["sh"]);
    (spec.stdin, spec.tty) = (true, true);
    let id = kit.start(&sandbox, spec).await;
    let mut session = kit.rt().attach(&id, true).await.unwrap();
    session.resize.as_ref().unwrap()(99, 33);
    let mut stdin = session.stdin.take().unwrap();
    stdin
        .write_all(b"stty size; readlink /proc/self/fd/0; test -c /dev/console && echo do''ne\n")
        .await
        .unwrap();
    let said = until_said(&mut session.stdout, "done").await;
    assert!(said.contains("33 99") && said.contains("/dev/pts/0"), "{said:?}");
    stdin.write_all(b"exit 6\n").await.unwrap();
    assert_eq!(session.exit.await.unwrap(), 6);
    assert!(kit.log("c/0.log").contains("33 99"));
}
