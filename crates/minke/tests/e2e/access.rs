//! How an instance is reached and what it begins with: kubeconfig files, certificate names, `--apply`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::cluster::Cluster;
use super::isolate::{isolated, sh};

#[test]
fn a_users_kubeconfig_is_kept() {
    isolated("access::a_users_kubeconfig_is_kept", || {
        let mut cluster = Cluster::new(&[]);
        let file = cluster.kubeconfig();
        fs::write(
            &file,
            "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters: [{name: work, cluster: {server: 'https://work.test'}}]\n\
             users: [{name: me, user: {token: secret}}]\ncontexts: [{name: work, context: {cluster: work, user: me}}]\n",
        )
        .expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
        sh(&format!("chown 1234:1234 {}", file.display()));
        cluster.start();
        let view = |cluster: &Cluster, path: &str| {
            cluster.kubectl(&["config", "view", "--raw", "-o", &format!("jsonpath={path}")])
        };
        let own = view(&cluster, "{.current-context}");
        assert!(own.starts_with("minke-"), "{own}");
        assert_eq!(view(&cluster, "{.users[?(@.name==\"me\")].user.token}"), "secret");
        assert_eq!(sh(&format!("stat -c '%a %u' {}", file.display())), "600 1234\n");
        cluster.kubectl(&["create", "namespace", "mine"]);
        cluster.kubectl(&["config", "set-context", &own, "--namespace=mine"]);
        cluster.kubectl(&["config", "set", &format!("clusters.{own}.proxy-url"), "http://127.0.0.1:9"]);
        cluster.kubectl(&["config", "use-context", "work"]);
        let data = cluster.data();
        assert!(
            cluster
                .minke(&["down", "--data-dir", data.to_str().expect("UTF-8")])
                .status()
                .expect("minke")
                .success()
        );
        assert!(cluster.ended());
        cluster.start();
        assert_eq!(view(&cluster, "{.current-context}"), "work", "what the user chose stays");
        assert_eq!(view(&cluster, &format!("{{.contexts[?(@.name==\"{own}\")].context.namespace}}")), "mine");
        assert_eq!(
            view(&cluster, &format!("{{.clusters[?(@.name==\"{own}\")].cluster.proxy-url}}")),
            "http://127.0.0.1:9"
        );
        assert!(cluster.terminate());
        fs::write(&file, "clusters: [").expect("a file");
        let args = [
            "up",
            "--data-dir",
            data.to_str().expect("UTF-8"),
            "--kubeconfig",
            file.to_str().expect("UTF-8"),
        ];
        let out = cluster.minke(&args).output().expect("minke");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains("is no kubeconfig: it is left as it is"), "{said}");
        assert_eq!(fs::read_to_string(&file).expect("the file"), "clusters: [");
    });
}

#[test]
fn all_addresses_and_more_names() {
    isolated("access::all_addresses_and_more_names", || {
        sh("ip addr add 10.77.0.1/32 dev lo");
        let mut cluster =
            Cluster::new(&["--listen", "0.0.0.0:0", "--tls-san", "api.test", "--tls-san", "10.77.0.9"]);
        cluster.start();
        let server = cluster.kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
        assert!(server.starts_with("https://127.0.0.1:"), "{server}");
        let port = server.rsplit(':').next().expect("a port").to_owned();
        let reach = |cluster: &Cluster, host: &str, name: &str| {
            let server = format!("--server=https://{host}:{port}");
            let out = cluster.try_kubectl(&[
                "get",
                "--raw",
                "/readyz",
                &server,
                &format!("--tls-server-name={name}"),
            ]);
            (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
        };
        for (host, name) in [
            ("10.77.0.1", "10.77.0.1"),
            ("127.0.0.1", "api.test"),
            ("127.0.0.1", "10.77.0.9"),
            ("127.0.0.1", "e2e"),
        ] {
            let (good, said) = reach(&cluster, host, name);
            assert!(good, "{host} as {name}: {said}");
        }
        let (good, said) = reach(&cluster, "127.0.0.1", "other.test");
        assert!(!good && said.contains("certificate is valid for"), "{said}");
        // Another set is another certificate.
        assert!(cluster.terminate());
        cluster.extra(&["--listen", "0.0.0.0:0", "--tls-san", "other.test"]);
        cluster.start();
        assert!(reach(&cluster, "127.0.0.1", "other.test").0);
        assert!(!reach(&cluster, "127.0.0.1", "api.test").0);
    });
}

#[test]
fn a_refused_object_ends_nothing() {
    isolated("access::a_refused_object_ends_nothing", || {
        let mut cluster = Cluster::new(&[]);
        let file = cluster.dir.path().join("objects.yaml");
        fs::write(
            &file,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\ndata: {a: b}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndta: {a: b}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata: {name: refused}\nspec: {containers: []}\n---\n\
             apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: unknown}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last}\n",
        )
        .expect("a file");
        cluster.extra(&["--apply", file.to_str().expect("UTF-8")]);
        for outcome in ["created", "unchanged"] {
            cluster.start();
            let said = cluster.daemon_log();
            for words in [
                "configmap/typo: ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\"",
                "pod/refused: Pod \"refused\" is invalid: spec.containers: Required value",
                "thing.example.com/unknown: no kind \"Thing\" in version \"example.com/v1\" is served",
            ] {
                assert!(said.contains(words), "no {words:?} in {said}");
            }
            let told = cluster.said();
            for name in ["good", "last"] {
                assert!(told.contains(&format!("configmap/{name} {outcome}")), "{told}");
            }
            let names = cluster.kubectl(&[
                "get",
                "configmaps",
                "-o",
                "name",
                "--field-selector",
                "metadata.name!=kube-root-ca.crt",
            ]);
            assert_eq!(names, "configmap/good\nconfigmap/last\n");
            assert!(cluster.terminate());
        }
        // The last start of all finds other data.
        let text = fs::read_to_string(&file).expect("the file").replace("data: {a: b}", "data: {a: c}");
        fs::write(&file, text).expect("a file");
        cluster.start();
        assert!(cluster.said().contains("configmap/good configured"), "{}", cluster.said());
        assert_eq!(cluster.kubectl(&["get", "configmap", "good", "-o", "jsonpath={.data.a}"]), "c");
    });
}

#[test]
fn instances_are_listed() {
    isolated("access::instances_are_listed", || {
        let ls = || {
            let out = Command::new(env!("CARGO_BIN_EXE_minke")).arg("ls").output().expect("minke");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        assert_eq!(ls().lines().count(), 1, "a header");
        let mut cluster = Cluster::up(&[]);
        let data = cluster.data();
        let line = |table: &str| {
            let line = table.lines().find(|l| l.ends_with(data.to_str().expect("UTF-8"))).map(str::to_owned);
            line.unwrap_or_else(|| panic!("not listed: {table}"))
        };
        let pid = fs::read_to_string(data.join("lock")).expect("the lock");
        let running = line(&ls());
        let words: Vec<&str> = running.split_whitespace().collect();
        assert_eq!(words[0], fs::read_to_string(data.join("instance")).expect("the id").trim());
        assert_eq!(words[1..3], ["running", pid.trim()], "{running}");
        assert!(words[3].ends_with('Z'), "{running}");
        cluster.kill();
        assert!(line(&ls()).contains(" no daemon "), "{}", ls());
        let status =
            cluster.minke(&["down", "--data-dir", data.to_str().expect("UTF-8")]).status().expect("minke");
        assert!(status.success());
        assert_eq!(ls().lines().count(), 1, "nothing of it is left");
    });
}
