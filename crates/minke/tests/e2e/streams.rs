//! exec, attach, cp, port-forward and logs with real kubectl, over WebSocket and SPDY.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use super::cluster::Cluster;
use super::isolate::isolated;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: s}
spec:
  containers:
    - {name: c, image: "busybox:1.36", command: [sh, -c, "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"]}
    - {name: echo, image: "busybox:1.36", stdin: true, command: [sh, -c, "while read line; do echo got $line; done"]}
"#;

fn with_pod(test: fn(&Cluster, &[(&str, &str)])) {
    let cluster = Cluster::up(&[]);
    cluster.apply(POD);
    cluster.wait("condition=Ready", "pod/s");
    // kubectl speaks WebSocket unless told not to.
    test(&cluster, &[]);
    test(
        &cluster,
        &[("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")],
    );
}

#[test]
fn exec_with_streams_and_codes() {
    isolated("streams::exec_with_streams_and_codes", || {
        with_pod(|cluster, env| {
            let out = cluster
                .kubectl_command(&[
                    "exec",
                    "s",
                    "-c",
                    "c",
                    "--",
                    "sh",
                    "-c",
                    "echo out; echo err >&2; exit 5",
                ])
                .envs(env.iter().copied())
                .output()
                .expect("kubectl");
            assert_eq!(String::from_utf8_lossy(&out.stdout), "out\n", "{env:?}");
            assert!(String::from_utf8_lossy(&out.stderr).contains("err\n"));
            assert_eq!(out.status.code(), Some(5));
            let mut child = cluster
                .kubectl_command(&["exec", "-i", "s", "-c", "c", "--", "sha256sum"])
                .envs(env.iter().copied())
                .stdin(Stdio::piped())
                .spawn()
                .expect("kubectl");
            let bytes = vec![7_u8; 3 << 20];
            child.stdin.take().expect("a pipe").write_all(&bytes).expect("stdin");
            let out = child.wait_with_output().expect("kubectl");
            let sum = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(sum.ends_with("  -\n") && sum.len() == 68, "{sum}");
        });
    });
}

#[test]
fn attach_and_port_forward() {
    isolated("streams::attach_and_port_forward", || {
        with_pod(|cluster, env| {
            let mut attach = cluster
                .kubectl_command(&["attach", "-i", "s", "-c", "echo"])
                .envs(env.iter().copied())
                .stdin(Stdio::piped())
                .spawn()
                .expect("kubectl");
            let mut stdin = attach.stdin.take().expect("a pipe");
            stdin.write_all(b"one\n").expect("stdin");
            let mut line = String::new();
            let mut lines = BufReader::new(attach.stdout.take().expect("a pipe"));
            while !line.contains("got one") {
                line.clear();
                assert_ne!(lines.read_line(&mut line).expect("a line"), 0, "attach ended early");
            }
            attach.kill().expect("kill");
            attach.wait().expect("wait");
            let mut forward = cluster
                .kubectl_command(&["port-forward", "pod/s", ":8080"])
                .envs(env.iter().copied())
                .spawn()
                .expect("kubectl");
            let mut lines = BufReader::new(forward.stdout.take().expect("a pipe"));
            line.clear();
            lines.read_line(&mut line).expect("a line");
            let port: u16 = line
                .split("127.0.0.1:")
                .nth(1)
                .and_then(|l| l.split(' ').next())
                .and_then(|p| p.parse().ok())
                .expect("a port");
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port");
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.ends_with("hi\n"), "{answer}");
            forward.kill().expect("kill");
            forward.wait().expect("wait");
        });
    });
}

#[test]
fn copy_and_logs() {
    isolated("streams::copy_and_logs", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: l}\nspec:\n  containers: [{name: c, image: 'busybox:1.36', command: [sh, -c, 'for n in 1 2 3 4 5; do echo line $n; done; touch /started; exec sleep 1000'], readinessProbe: {exec: {command: [test, -f, /started]}, periodSeconds: 1}}]\n");
        cluster.wait("condition=Ready", "pod/l");
        assert_eq!(cluster.kubectl(&["logs", "l", "--tail=2"]), "line 4\nline 5\n");
        assert_eq!(cluster.kubectl(&["logs", "l", "--limit-bytes=6"]), "line 1");
        let stamped = cluster.kubectl(&["logs", "l", "--timestamps", "--tail=1"]);
        assert!(stamped.ends_with("Z line 5\n"), "{stamped}");
        let mut follow = cluster.kubectl_command(&["logs", "-f", "l"]).spawn().expect("kubectl");
        let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
        assert_eq!(lines.nth(4).expect("five lines").expect("a line"), "line 5");
        follow.kill().expect("kill");
        follow.wait().expect("wait");
        let file = cluster.dir.path().join("file");
        std::fs::write(&file, "copied").expect("a file");
        cluster.kubectl(&["cp", file.to_str().expect("UTF-8"), "l:/tmp/file"]);
        assert_eq!(cluster.kubectl(&["exec", "l", "--", "cat", "/tmp/file"]), "copied");
        let wrong = cluster.try_kubectl(&["logs", "l", "-c", "nope"]);
        assert!(
            String::from_utf8_lossy(&wrong.stderr).contains("container nope is not valid for pod l"),
            "{wrong:?}"
        );
    });
}
