//! Static Pods from manifest to the last process.

use crate::kit::{Kit, condition, container};

const IMAGE: &str = "image: 'busybox:1', imagePullPolicy: Never";

fn ready(p: &k8s_openapi::api::core::v1::Pod) -> bool {
    condition(p, "Ready").as_deref() == Some("True")
}

pub async fn runs_and_goes(kit: Kit) {
    kit.put("web", &format!("{{terminationGracePeriodSeconds: 1, containers: [{{name: a, {IMAGE}, command: [sh, -c, 'echo up; exec sleep 1000']}}, {{name: b, {IMAGE}, command: [sleep, '1000']}}]}}"));
    let entry = kit.until("web", ready).await;
    let status = entry.pod.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(status.pod_ip.is_some() && status.host_ip.is_some() && status.start_time.is_some());
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "PodReadyToStartContainers"] {
        assert_eq!(condition(&entry.pod, kind).as_deref(), Some("True"), "{kind}");
    }
    let a = container(&entry.pod, "a");
    assert!(a.container_id.unwrap().starts_with("minke://"));
    kit.until_log("web", "a", "up").await;
    kit.remove("web");
    kit.until_gone("web").await;
    kit.assert_clean().await;
}

pub async fn completes(kit: Kit) {
    kit.put(
        "job",
        &format!("{{restartPolicy: Never, containers: [{{name: a, {IMAGE}, command: ['true']}}]}}"),
    );
    let entry = kit.phase("job", "Succeeded").await;
    let done = container(&entry.pod, "a").state.unwrap().terminated.unwrap();
    assert_eq!((done.exit_code, done.reason.as_deref()), (0, Some("Completed")));
    kit.put(
        "fail",
        &format!("{{restartPolicy: Never, containers: [{{name: a, {IMAGE}, command: [sh, -c, 'exit 7']}}]}}"),
    );
    let entry = kit.phase("fail", "Failed").await;
    let done = container(&entry.pod, "a").state.unwrap().terminated.unwrap();
    assert_eq!((done.exit_code, done.reason.as_deref()), (7, Some("Error")));
}

pub async fn crashes_and_backs_off(kit: Kit) {
    kit.put(
        "crash",
        &format!("{{containers: [{{name: a, {IMAGE}, command: [sh, -c, 'echo again; exit 3']}}]}}"),
    );
    let waits = |p: &k8s_openapi::api::core::v1::Pod| {
        let state = container(p, "a").state.unwrap_or_default();
        state.waiting.is_some_and(|w| w.reason.as_deref() == Some("CrashLoopBackOff"))
    };
    let entry = kit.until("crash", waits).await;
    let a = container(&entry.pod, "a");
    assert_eq!(a.restart_count, 1);
    assert_eq!(a.last_state.unwrap().terminated.unwrap().exit_code, 3);
    assert!(
        a.state
            .unwrap()
            .waiting
            .unwrap()
            .message
            .unwrap()
            .starts_with("back-off 10s restarting failed container=a pod=crash-n1_ns(")
    );
    assert_eq!(entry.pod.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(kit.log("crash", "a"), "again\nagain\n");
}

pub async fn init_then_sidecars(kit: Kit) {
    let volume = "volumeMounts: [{name: v, mountPath: /v}]";
    let spec = format!(
        "{{terminationGracePeriodSeconds: 5, volumes: [{{name: v, emptyDir: {{}}}}],
          initContainers: [{{name: i, {IMAGE}, {volume}, command: [sh, -c, 'echo i >> /v/order']}},
            {{name: s, {IMAGE}, {volume}, restartPolicy: Always, command: [sh, -c, 'echo s >> /v/order; touch /tmp/up; exec sleep 1000'],
              startupProbe: {{exec: {{command: [test, -e, /tmp/up]}}, periodSeconds: 1}}}}],
          containers: [{{name: a, {IMAGE}, {volume}, command: [sh, -c, 'echo a >> /v/order; cat /v/order; exec sleep 1000']}}]}}"
    );
    kit.put("order", &spec);
    let entry = kit.until("order", ready).await;
    assert_eq!(kit.until_log("order", "a", "a\n").await, "i\ns\na\n");
    let i = container(&entry.pod, "i").state.unwrap().terminated.unwrap();
    assert_eq!(i.reason.as_deref(), Some("Completed"));
    assert_eq!(container(&entry.pod, "s").started, Some(true));
    kit.remove("order");
    kit.until_gone("order").await;
    kit.assert_clean().await;
}

pub async fn environment_and_files(kit: Kit) {
    let spec = format!(
        "{{hostname: host1, subdomain: sub, hostAliases: [{{ip: 1.2.3.4, hostnames: [alias]}}],
          containers: [{{name: a, {IMAGE}, workingDir: /tmp, resources: {{limits: {{memory: 64Mi}}}},
            env: [{{name: A, value: one}}, {{name: B, value: $(A)-two}}, {{name: NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}},
                  {{name: MEM, valueFrom: {{resourceFieldRef: {{resource: limits.memory}}}}}}],
            command: [sh, -c, 'pwd; echo $A $B $NAME $MEM; hostname; cat /etc/hosts; cat /etc/hostname; id -u; echo arg=$0; sleep 1000', $(B)],
            securityContext: {{runAsUser: 1000}}}}]}}"
    );
    kit.put("env", &spec);
    let log = kit.until_log("env", "a", "arg=").await;
    let entry = kit.pod("env").unwrap();
    let ip = entry.pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    for want in [
        "/tmp\n",
        "one one-two env-n1 67108864\n",
        &format!("{ip}\thost1.sub.ns.svc.cluster.local\thost1\n"),
        "1.2.3.4\talias\n",
        "\nhost1\n",
        "\n1000\n",
        "arg=one-two\n",
    ] {
        assert!(log.contains(want), "no {want:?} in {log}");
    }
}

pub async fn probes_decide(kit: Kit) {
    let spec = format!(
        "{{terminationGracePeriodSeconds: 1, volumes: [{{name: v, emptyDir: {{}}}}],
          containers: [{{name: a, {IMAGE}, volumeMounts: [{{name: v, mountPath: /v}}], command: [sh, -c, 'touch /v/live; while [ ! -e /v/ready ]; do sleep 0.05; done; mkdir /tmp/w; echo hi > /tmp/w/x; exec httpd -f -p 8080 -h /tmp/w'],
            readinessProbe: {{httpGet: {{path: /x, port: 8080}}, periodSeconds: 1}},
            livenessProbe: {{exec: {{command: [test, -e, /v/live]}}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1}}}}]}}"
    );
    kit.put("probe", &spec);
    let entry = kit.phase("probe", "Running").await;
    assert!(!ready(&entry.pod));
    let uid = entry.pod.metadata.uid.clone().unwrap();
    let volume = kit.dir.join("data/pods").join(uid).join("volumes/kubernetes.io~empty-dir/v");
    std::fs::write(volume.join("ready"), "").unwrap();
    kit.until("probe", ready).await;
    std::fs::remove_file(volume.join("live")).unwrap();
    let entry = kit.until("probe", |p| container(p, "a").restart_count == 1).await;
    kit.until("probe", ready).await;
    assert_eq!(entry.pod.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
}

pub async fn hooks_run(kit: Kit) {
    let out = kit.dir.join("hooks");
    std::fs::create_dir_all(&out).unwrap();
    let spec = format!(
        "{{terminationGracePeriodSeconds: 20, volumes: [{{name: v, hostPath: {{path: {}}}}}],
          containers: [{{name: a, {IMAGE}, volumeMounts: [{{name: v, mountPath: /v}}], command: [sh, -c, 'trap \"echo term >> /v/log; exit 0\" TERM; while :; do sleep 0.05; done'],
            lifecycle: {{postStart: {{exec: {{command: [sh, -c, 'echo post >> /v/log']}}}}, preStop: {{exec: {{command: [sh, -c, 'echo pre >> /v/log']}}}}}}}}]}}",
        out.display()
    );
    kit.put("hooks", &spec);
    kit.until("hooks", ready).await;
    kit.remove("hooks");
    kit.until_gone("hooks").await;
    assert_eq!(std::fs::read_to_string(out.join("log")).unwrap(), "post\npre\nterm\n");
}

pub async fn last_words(kit: Kit) {
    let spec = format!(
        "{{restartPolicy: Never, containers: [
          {{name: a, {IMAGE}, command: [sh, -c, 'echo bye > /dev/termination-log; exit 1']}},
          {{name: b, {IMAGE}, terminationMessagePolicy: FallbackToLogsOnError, command: [sh, -c, 'echo from the log; exit 2']}}]}}"
    );
    kit.put("words", &spec);
    let entry = kit.phase("words", "Failed").await;
    let message = |name: &str| container(&entry.pod, name).state.unwrap().terminated.unwrap().message;
    assert_eq!(message("a").as_deref(), Some("bye\n"));
    assert_eq!(message("b").as_deref(), Some("from the log\n"));
}

pub async fn daemon_restart(mut kit: Kit) {
    let spec = format!(
        "{{terminationGracePeriodSeconds: 1, containers: [{{name: a, {IMAGE}, command: [sleep, '1000'], readinessProbe: {{exec: {{command: ['true']}}}}}},
          {{name: b, {IMAGE}, command: [sleep, '1000']}}]}}"
    );
    kit.put("stay", &spec);
    kit.until("stay", ready).await;
    let before = kit.pod("stay").unwrap();
    kit.stop().await;
    kit.start().await;
    let after = kit.until("stay", |_| true).await;
    assert!(ready(&after.pod), "readiness stays: {:#?}", after.pod.status);
    for name in ["a", "b"] {
        let (old, new) = (container(&before.pod, name), container(&after.pod, name));
        assert_eq!((old.container_id, old.restart_count), (new.container_id, new.restart_count), "{name}");
    }
    let ip = |e: &node::PodEntry| e.pod.status.as_ref().unwrap().pod_ip.clone();
    assert_eq!(ip(&before), ip(&after));
    kit.remove("stay");
    kit.until_gone("stay").await;
    kit.assert_clean().await;
}

pub async fn removed_while_down(mut kit: Kit) {
    kit.put("lost", &format!("{{containers: [{{name: a, {IMAGE}, command: [sleep, '1000']}}]}}"));
    kit.until("lost", ready).await;
    kit.stop().await;
    kit.remove("lost");
    kit.start().await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !runtime::Runtime::sandboxes(kit.runtime(), None).await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the orphan stays");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    kit.until_gone("lost").await;
}

pub async fn a_pod_of_which_nothing_is_known_leaves_no_cgroup(mut kit: Kit) {
    kit.put("lost", &format!("{{containers: [{{name: a, {IMAGE}, command: [sleep, '1000']}}]}}"));
    let uid = kit.until("lost", ready).await.pod.metadata.uid.clone().unwrap();
    kit.stop().await;
    kit.remove("lost");
    std::fs::remove_dir_all(kit.dir.join("data/pods").join(&uid)).unwrap();
    std::fs::remove_dir_all(kit.dir.join("data/sandboxes")).unwrap();
    let group = format!("pod{uid}");
    let find =
        || std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &group]).output().unwrap();
    assert!(!find().stdout.is_empty());
    kit.start().await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !find().stdout.is_empty() {
        assert!(std::time::Instant::now() < deadline, "the group stays");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

pub async fn start_errors(kit: Kit) {
    kit.put("bad", &format!("{{containers: [{{name: a, {IMAGE}, command: [nothing-here]}}, {{name: b, image: 'absent:1', imagePullPolicy: Never}}, {{name: c, {IMAGE}, command: [sleep, '9'], securityContext: {{runAsNonRoot: true}}}}]}}"));
    let reason = |p: &k8s_openapi::api::core::v1::Pod, name: &str| {
        container(p, name).state.unwrap_or_default().waiting.and_then(|w| w.reason)
    };
    let entry = kit
        .until("bad", |p| {
            matches!(reason(p, "a").as_deref(), Some("RunContainerError" | "CrashLoopBackOff"))
                && reason(p, "b").is_some()
                && reason(p, "c").as_deref() == Some("CreateContainerConfigError")
        })
        .await;
    assert_eq!(reason(&entry.pod, "b").as_deref(), Some("ErrImageNeverPull"));
    let message = container(&entry.pod, "c").state.unwrap().waiting.unwrap().message.unwrap();
    assert!(message.starts_with("container has runAsNonRoot and image will run as root"), "{message}");
}

pub async fn several_pods(kit: Kit) {
    for n in 0..5 {
        kit.put(&format!("p{n}"), &format!("{{terminationGracePeriodSeconds: 1, containers: [{{name: a, {IMAGE}, command: [sleep, '1000']}}]}}"));
    }
    for n in 0..5 {
        kit.until(&format!("p{n}"), ready).await;
    }
    for n in 0..5 {
        kit.remove(&format!("p{n}"));
    }
    for n in 0..5 {
        kit.until_gone(&format!("p{n}")).await;
    }
    kit.assert_clean().await;
}

/// What the runtime mounts follows a read-only root; the kubelet's files do not (containerd `containerMounts`).
pub async fn files_follow_the_root(kit: Kit) {
    let script = "for f in /etc/hosts /etc/resolv.conf /etc/hostname /dev/termination-log /x; do \
        echo '# x' 2>/dev/null >>$f && echo $f; done 2>/dev/null; echo end";
    for (name, locked, writable) in [
        ("locked", true, "/etc/hosts\n/dev/termination-log\nend"),
        ("open", false, "/etc/hosts\n/etc/resolv.conf\n/etc/hostname\n/dev/termination-log\n/x\nend"),
    ] {
        let context = format!("securityContext: {{readOnlyRootFilesystem: {locked}}}");
        let command = format!("command: [sh, -c, {}]", serde_json::to_string(script).unwrap());
        let spec =
            format!("{{restartPolicy: Never, containers: [{{name: a, {IMAGE}, {context}, {command}}}]}}");
        kit.put(name, &spec);
        kit.phase(name, "Succeeded").await;
        assert_eq!(kit.until_log(name, "a", "end").await.trim_end(), writable, "{name}");
    }
}
