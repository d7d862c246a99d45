//! Start, output, exit codes, stop, users, and what survives the daemon.

use std::time::Duration;

use runtime::{ContainerState, Mount, Runtime, RuntimeError, SandboxState, User};

use crate::kit::{Kit, container};

pub async fn runs_and_logs(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut spec =
        container(&["sh", "-c", "echo out; echo err >&2; printf end; hostname; pwd; cat /proc/1/comm"]);
    spec.working_dir = "/made/for/me".into();
    let status = kit.run(&sandbox, spec).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    assert!(status.created_at <= status.started_at && status.started_at <= status.finished_at);
    assert_eq!(status.user, Some((0, 0, vec![0])));
    assert_eq!(kit.text("c/0.log", "stdout"), "out\nendpod-host\n/made/for/me\ncat\n");
    assert_eq!(kit.text("c/0.log", "stderr"), "err\n");
    kit.rt().remove_container(&status.id).await.unwrap();
    assert!(kit.rt().container(&status.id).await.is_err());
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
    assert!(kit.rt().sandboxes(None).await.unwrap().is_empty());
    assert!(!kit.log("c/0.log").is_empty(), "the log stays");
    kit.rt().remove_cgroup(&format!("{}/kubepods", kit.config.cgroup_root)).await.unwrap();
}

pub async fn exit_codes(kit: Kit) {
    let sandbox = kit.sandbox().await;
    for (script, code, reason) in [
        ("exit 0", 0, "Completed"),
        ("exit 7", 7, "Error"),
        ("kill -9 $$", 0, ""),
        ("sh -c 'kill -9 $$'; exit $?", 137, "Error"),
    ] {
        let status = if reason.is_empty() {
            // The init of a PID namespace cannot kill itself; the shell goes on and ends well.
            kit.run(&sandbox, container(&["sh", "-c", script])).await
        } else {
            let status = kit.run(&sandbox, container(&["sh", "-c", script])).await;
            assert_eq!(status.reason, reason, "{script}");
            status
        };
        assert_eq!(status.exit_code, code, "{script}");
    }
}

pub async fn start_errors(kit: Kit) {
    let sandbox = kit.sandbox().await;
    for (command, words) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/etc", "exec: \"/etc\": is a directory"),
    ] {
        let id = kit.create(&sandbox, container(&[command])).await;
        let error = kit.rt().start_container(&id).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Start(_)), "{error:?}");
        assert_eq!(error.to_string(), words);
        let status = kit.rt().container(&id).await.unwrap();
        assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 128));
        assert_eq!((status.reason.as_str(), status.message.as_str()), ("StartError", words));
        kit.rt().remove_container(&id).await.unwrap();
    }
    let mut unknown = container(&["true"]);
    unknown.user.spec = "nobody-here".into();
    let id = kit.create(&sandbox, unknown).await;
    let error = kit.rt().start_container(&id).await.unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nobody-here: no matching entries in passwd file");
}

pub async fn stops_by_term(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let spec =
        container(&["sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]);
    let id = kit.start(&sandbox, spec).await;
    kit.until(async || kit.text("c/0.log", "stdout").contains("ready").then_some(())).await;
    kit.rt().stop_container(&id, Duration::from_secs(30)).await.unwrap();
    let status = kit.rt().container(&id).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 3));
    assert_eq!(kit.text("c/0.log", "stdout"), "ready\nbye\n");
    // Again is no error.
    kit.rt().stop_container(&id, Duration::ZERO).await.unwrap();
}

pub async fn stops_by_kill(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"])).await;
    kit.rt().stop_container(&id, Duration::from_millis(50)).await.unwrap();
    let status = kit.rt().container(&id).await.unwrap();
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    kit.rt().stop_sandbox(&sandbox).await.unwrap();
    kit.rt().stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(kit.rt().container(&id).await.unwrap().exit_code, 137);
    assert_eq!(kit.rt().sandboxes(None).await.unwrap()[0].state, SandboxState::NotReady);
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
}

pub async fn users_from_the_image(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let user = |spec: &str, groups: &[u32]| User {
        spec: spec.into(),
        supplemental_groups: groups.to_vec(),
        ..User::default()
    };
    for (who, expect) in [
        (user("app", &[]), "1000 1001 1001 2000 /home/app\n"),
        (user("1000:7", &[3000]), "1000 7 7 2000 3000 /home/app\n"),
        (user("4242", &[]), "4242 0 0 /\n"),
    ] {
        let text =
            kit.script(&sandbox, |spec| spec.user = who, "echo $(id -u) $(id -g) $(id -G) $HOME").await;
        assert_eq!(text, expect);
    }
}

pub async fn daemon_restart(mut kit: Kit) {
    let sandbox = kit.sandbox().await;
    let script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.02; done";
    let id = kit.start(&sandbox, container(&["sh", "-c", script])).await;
    let before = kit.rt().container(&id).await.unwrap();
    kit.until(async || kit.text("c/0.log", "stdout").contains("line 2").then_some(())).await;
    kit.restart().await;
    let after = kit.rt().container(&id).await.unwrap();
    assert_eq!(
        (after.state, after.pid, after.started_at),
        (ContainerState::Running, before.pid, before.started_at)
    );
    let seen = kit.log("c/0.log").len();
    kit.until(async || (kit.log("c/0.log").len() > seen).then_some(())).await;
    let lines = kit.text("c/0.log", "stdout");
    for (number, line) in lines.lines().enumerate() {
        assert_eq!(line, format!("line {number}"), "no line is lost");
    }
    kit.rt().stop_container(&id, Duration::ZERO).await.unwrap();
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
}

/// The daemon dies at some moment of a start; the next one finds the container, or can start it, once.
pub async fn restart_while_starting(mut kit: Kit) {
    let sandbox = kit.sandbox().await;
    for round in 0..20 {
        let mut spec = container(&["sh", "-c", "echo once; exec sleep 1000"]);
        spec.log_path = format!("round/{round}.log").into();
        let id = kit.create(&sandbox, spec).await;
        let runtime = kit.runtime.clone().unwrap();
        let starting = tokio::spawn({
            let id = id.clone();
            async move { runtime.start_container(&id).await }
        });
        for _ in 0..round * round * 20 {
            tokio::task::yield_now().await;
        }
        starting.abort();
        // Ends it, and with it its hold on the runtime.
        let _ = starting.await;
        kit.restart().await;
        match kit.rt().start_container(&id).await {
            Ok(()) => {}
            Err(RuntimeError::State(words)) => assert!(words.contains("started already"), "{words}"),
            Err(other) => panic!("{other}"),
        }
        kit.until(async || {
            let status = kit.rt().container(&id).await.unwrap();
            (status.state == ContainerState::Running && status.pid.is_some()).then_some(())
        })
        .await;
        let log = format!("round/{round}.log");
        kit.until(async || (!kit.text(&log, "stdout").is_empty()).then_some(())).await;
        kit.rt().remove_container(&id).await.unwrap();
        assert_eq!(kit.text(&log, "stdout"), "once\n");
    }
}

pub async fn exit_during_downtime(mut kit: Kit) {
    let sandbox = kit.sandbox().await;
    let shared = kit.dir.join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    let mut spec = container(&["sh", "-c", "while ! test -e /shared/go; do sleep 0.01; done; exit 9"]);
    spec.mounts.push(Mount { source: shared.clone(), target: "/shared".into(), ..Mount::default() });
    let id = kit.start(&sandbox, spec).await;
    kit.runtime = None;
    std::fs::write(shared.join("go"), "").unwrap();
    let left = kit.config.data_dir.join("sandboxes").join(&sandbox).join("c").join(&id).join("exit");
    while !left.exists() {
        tokio::task::yield_now().await;
    }
    kit.restart().await;
    let status = kit.rt().container(&id).await.unwrap();
    assert_eq!(
        (status.state, status.exit_code, status.reason.as_str()),
        (ContainerState::Exited, 9, "Error")
    );
    assert!(status.finished_at > status.started_at);
}

pub async fn dead_shim(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    let pid = kit.rt().container(&id).await.unwrap().pid.unwrap();
    let shim = kit.rt().sandboxes(None).await.unwrap()[0].pid.unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(shim).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let status = kit.ended(&id).await;
    assert_eq!((status.state, status.exit_code, &*status.reason), (ContainerState::Exited, 255, "Unknown"));
    assert!(status.started_at > 0 && status.finished_at >= status.started_at);
    kit.until(async || {
        let list = kit.rt().sandboxes(None).await.unwrap();
        (list[0].state == SandboxState::NotReady).then_some(())
    })
    .await;
    // A zombie at most: this test's init does not reap.
    let dead = |text: String| text.contains(") Z ");
    kit.until(async || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, dead).then_some(()))
        .await;
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
}
