//! Bad input: a clear message that names the thing; nothing half-written.

use super::cluster::Cluster;
use super::isolate::isolated;

fn refused(cluster: &Cluster, manifest: &str, args: &[&str]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), manifest).expect("a file");
    let mut all = vec!["create", "-f", file.path().to_str().expect("UTF-8")];
    all.extend(args);
    let out = cluster.try_kubectl(&all);
    assert!(!out.status.success(), "accepted: {manifest}");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn manifests() {
    isolated("bad_input::manifests", || {
        let cluster = Cluster::up(&[]);
        let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {spec}\n");
        for (manifest, words) in [
            (
                pod("{containers: [{name: c, image: x, colour: red}]}"),
                "unknown field \"spec.containers[0].colour\"",
            ),
            (pod("{containers: []}"), "spec.containers: Required value"),
            (pod("{containers: [{name: C_, image: x}]}"), "spec.containers[0].name: Invalid value: \"C_\""),
            (pod("{containers: [{name: c, image: x, ports: [{containerPort: eighty}]}]}"), "containerPort"),
            (
                pod("{containers: [{name: c, image: x}], restartPolicy: Sometimes}"),
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ),
            (
                pod("{containers: [{name: c, image: x, volumeMounts: [{name: nope, mountPath: /x}]}]}"),
                "spec.containers[0].volumeMounts[0].name: Not found: \"nope\"",
            ),
            (
                pod("{containers: [{name: c, image: x, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}"),
                "must be less than or equal to cpu limit",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n".to_owned(),
                "metadata.name: Invalid value: \"Bad_Name\"",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: nowhere}\n".to_owned(),
                "namespaces \"nowhere\" not found",
            ),
        ] {
            let said = refused(&cluster, &manifest, &[]);
            assert!(said.contains(words), "want {words:?}, got {said:?}");
        }
        assert_eq!(cluster.kubectl(&["get", "pods", "-o", "name"]), "");
    });
}

#[test]
fn images_and_registries() {
    isolated("bad_input::images_and_registries", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: gone}\nspec: {containers: [{name: c, image: '127.0.0.1:1/none:1'}]}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: never}\nspec: {containers: [{name: c, image: 'absent:1', imagePullPolicy: Never}]}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: invalid}\nspec: {containers: [{name: c, image: 'In Valid'}]}\n");
        let reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
        cluster.wait(&format!("{reason}=ErrImageNeverPull"), "pod/never");
        cluster.wait(&format!("{reason}=InvalidImageName"), "pod/invalid");
        cluster.wait(&format!("{reason}=ImagePullBackOff"), "pod/gone");
        let tar = cluster.dir.path().join("bad.tar");
        std::fs::write(&tar, vec![1_u8; 5000]).expect("a file");
        let data = cluster.data();
        let out = cluster
            .minke(&[
                "image",
                "import",
                tar.to_str().expect("UTF-8"),
                "--data-dir",
                data.to_str().expect("UTF-8"),
            ])
            .output()
            .expect("minke");
        assert!(!out.status.success());
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(words.contains("bad.tar"), "{words}");
    });
}

#[test]
fn unknown_fields_are_warned_of_or_dropped() {
    isolated("bad_input::unknown_fields_are_warned_of_or_dropped", || {
        let cluster = Cluster::up(&[]);
        let manifest = cluster.dir.path().join("extra.yaml");
        std::fs::write(&manifest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ncolour: red\n")
            .expect("a file");
        let apply = |how: &str| {
            let out = cluster.try_kubectl(&["apply", how, "-f", manifest.to_str().expect("UTF-8")]);
            (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
        };
        let (done, said) = apply("--validate=strict");
        assert!(!done && said.contains("unknown field \"colour\""), "{said}");
        let (done, said) = apply("--validate=warn");
        assert!(done && said.contains("Warning: unknown field \"colour\""), "{said}");
        let (done, said) = apply("--validate=ignore");
        assert!(done && !said.contains("colour"), "{said}");
        assert!(!cluster.kubectl(&["get", "cm", "m", "-o", "jsonpath={.colour}"]).contains("red"));
    });
}

#[test]
fn a_full_disk() {
    isolated("bad_input::a_full_disk", || {
        let mut cluster = Cluster::new(&["--disable", "node"]);
        let data = cluster.data();
        std::fs::create_dir(&data).expect("a directory");
        let shown = data.to_str().expect("UTF-8");
        super::isolate::sh(&format!("mount -t tmpfs -o size=24m,mode=700 tmpfs {shown}"));
        cluster.start();
        cluster.kubectl(&["create", "namespace", "kept"]);
        cluster.kubectl(&["create", "configmap", "inside", "--namespace=kept"]);
        cluster.kubectl(&["create", "configmap", "first"]);
        // Fails at the end of the space, and that is what is wanted.
        super::isolate::sh(&format!("cat /dev/zero > {shown}/filler 2>/dev/null || true"));
        let big = cluster.dir.path().join("big");
        std::fs::write(&big, "x".repeat(900_000)).expect("a file");
        let from = format!("--from-file={}", big.display());
        // The store's own files have some room left in them, so that not every write needs the disk.
        let refused = |cluster: &Cluster, prefix: &str| {
            (0..12).find_map(|n| {
                super::isolate::sh(&format!("cat /dev/zero >> {shown}/filler 2>/dev/null || true"));
                let name = format!("{prefix}{n}");
                let out = cluster.try_kubectl(&["create", "configmap", &name, &from]);
                (!out.status.success()).then(|| (name, String::from_utf8_lossy(&out.stderr).into_owned()))
            })
        };
        let (name, said) = refused(&cluster, "m").expect("the disk is full");
        assert!(said.contains("full"), "{said}");
        assert!(!cluster.try_kubectl(&["get", "configmap", &name]).status.success(), "half-written");
        // What a failed write gave back is taken too, until not even a small one succeeds.
        let said = (0..50).find_map(|n| {
            super::isolate::sh(&format!("cat /dev/zero >> {shown}/filler 2>/dev/null || true"));
            cluster.try_kubectl(&["create", "configmap", &format!("small{n}")]);
            let ready = cluster.try_kubectl(&["get", "--raw", "/readyz"]);
            (!ready.status.success()).then(|| String::from_utf8_lossy(&ready.stderr).into_owned())
        });
        let said = said.expect("readiness never failed");
        assert!(said.contains("[-]store failed: ") && said.contains("free space on the disk"), "{said}");
        assert_eq!(cluster.kubectl(&["get", "--raw", "/livez"]), "ok");
        cluster.kubectl(&["delete", "configmap", "first", "--wait"]);
        cluster.kubectl(&["delete", "namespace", "kept", "--wait", "--timeout=60s"]);
        cluster.kill();
        cluster.start();
        let (name, _) = refused(&cluster, "n").expect("the disk is still full");
        std::fs::remove_file(data.join("filler")).expect("the filler");
        assert_eq!(cluster.kubectl(&["get", "--raw", "/readyz"]), "ok");
        cluster.kubectl(&["create", "configmap", &name, &from]);
        cluster.kill();
        cluster.start();
        cluster.kubectl(&["get", "configmap", &name]);
    });
}

#[test]
fn a_full_disk_under_pods() {
    isolated("bad_input::a_full_disk_under_pods", || {
        let mut cluster = Cluster::new(&[]);
        let data = cluster.data();
        std::fs::create_dir(&data).expect("a directory");
        let shown = data.to_str().expect("UTF-8");
        super::isolate::sh(&format!("mount -t tmpfs -o size=96m,mode=700 tmpfs {shown}"));
        cluster.start();
        let pod = |name: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: 'busybox:1.36', command: [sleep, '1000']}}]}}\n"
            )
        };
        for name in ["a", "b"] {
            cluster.apply(&pod(name));
            cluster.wait("condition=Ready", &format!("pod/{name}"));
        }
        super::isolate::sh(&format!("cat /dev/zero > {shown}/filler 2>/dev/null || true"));
        assert_eq!(cluster.kubectl(&["exec", "a", "--", "echo", "inside"]), "inside\n");
        cluster.kubectl(&["delete", "pod", "a", "--wait", "--timeout=60s"]);
        cluster.kill();
        cluster.start();
        assert_eq!(cluster.kubectl(&["exec", "b", "--", "echo", "inside"]), "inside\n");
        cluster.kubectl(&["delete", "pod", "b", "--wait", "--timeout=60s"]);
        std::fs::remove_file(data.join("filler")).expect("the filler");
        assert_eq!(cluster.kubectl(&["get", "--raw", "/readyz"]), "ok");
        // The node may say disk pressure for a while yet.
        cluster.apply(&pod("c").replace("spec: {", "spec: {tolerations: [{operator: Exists}], "));
        cluster.wait("condition=Ready", "pod/c");
    });
}
