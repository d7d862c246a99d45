//! The data dir: on a disk of its own, with mounts and files of its owner in it, and when a part of it is missing.

use std::fs;
use std::process::{Command, Output};

use super::cluster::Cluster;
use super::isolate::{isolated, sh};

fn minke(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_minke")).args(args).output().expect("minke")
}

/// Both streams of a command that failed, as it must.
fn refused(args: &[&str]) -> String {
    let out = minke(args);
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(!out.status.success(), "{args:?}: {said}");
    said
}

const VOLUMES: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: volumes}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: m, emptyDir: {medium: Memory}}]
  containers:
    - name: c
      image: busybox:1.36
      command: [sh, -c, "exec sleep 1000"]
      volumeMounts: [{name: m, mountPath: /m}, {name: m, mountPath: /s, subPath: s}]
"#;

#[test]
fn mounts_of_the_owner_stay() {
    isolated("data_dir::mounts_of_the_owner_stay", || {
        let mut cluster = Cluster::new(&[]);
        let data = cluster.data();
        let dir = data.to_str().expect("UTF-8").to_owned();
        // The disk of the data dir, and one in it for the images.
        sh(&format!(
            "mkdir -p {dir} && mount -t tmpfs disk {dir} && mkdir {dir}/images && mount -t tmpfs images {dir}/images"
        ));
        for round in ["a daemon ends it", "no daemon runs"] {
            cluster.start();
            if round == "a daemon ends it" {
                cluster.apply(VOLUMES);
            }
            cluster.wait("condition=Ready", "pod/volumes");
            let below = |part: &str| sh("cat /proc/self/mounts").contains(&format!("{dir}/{part}"));
            assert!(below("pods/"), "{}", sh("cat /proc/self/mounts"));
            match round {
                "a daemon ends it" => {
                    let out = minke(&["down", "--data-dir", &dir]);
                    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                    assert!(cluster.ended());
                }
                _ => {
                    cluster.kill();
                    let out = minke(&["down", "--data-dir", &dir]);
                    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                }
            }
            let left = sh(&format!("grep -F {dir} /proc/self/mounts | cut -d' ' -f1,2"));
            assert_eq!(left, format!("disk {dir}\nimages {dir}/images\n"), "{round}");
        }
        // The disk goes: what is beneath is no new cluster.
        sh(&format!("umount {dir}/images {dir}"));
        for command in ["up", "down"] {
            let said = refused(&[command, "--data-dir", &dir]);
            assert!(said.contains(&format!("the file system of {dir} is not mounted")), "{command}: {said}");
        }
        assert_eq!(sh(&format!("ls {dir}")), "mount-point\n");
    });
}

#[test]
fn what_is_missing_is_told() {
    isolated("data_dir::what_is_missing_is_told", || {
        let mut cluster = Cluster::up(&[]);
        let data = cluster.data();
        let dir = data.to_str().expect("UTF-8").to_owned();
        let uid = |cluster: &Cluster| {
            cluster.kubectl(&["get", "namespace", "default", "-o", "jsonpath={.metadata.uid}"])
        };
        let before = uid(&cluster);
        assert!(cluster.terminate());
        let aside = cluster.dir.path().join("aside");
        for (name, words) in
            [("store.db", "store.db is missing, but"), ("instance", "instance is missing, although")]
        {
            fs::rename(data.join(name), &aside).expect("moved away");
            let said = refused(&["up", "--data-dir", &dir, "--listen", "127.0.0.1:0"]);
            assert!(said.contains(words), "{said}");
            fs::rename(&aside, data.join(name)).expect("moved back");
        }
        // A disk of its own in fstab that is not mounted.
        sh(&format!(
            "echo '/dev/nowhere {dir}/images ext4 defaults 0 2' > /run/fstab && mount --bind /run/fstab /etc/fstab"
        ));
        let said = refused(&["up", "--data-dir", &dir, "--listen", "127.0.0.1:0"]);
        assert!(said.contains("is a mount point of /etc/fstab, but nothing is mounted there"), "{said}");
        sh("umount /etc/fstab");
        cluster.start();
        assert_eq!(uid(&cluster), before, "the same cluster");
    });
}

#[test]
fn down_without_its_socket() {
    isolated("data_dir::down_without_its_socket", || {
        let mut cluster = Cluster::up(&[]);
        cluster.kubectl(&[
            "run",
            "a",
            "--image=busybox:1.36",
            "--",
            "sh",
            "-c",
            "trap 'exit 0' TERM; sleep 1000 & wait",
        ]);
        cluster.wait("condition=Ready", "pod/a");
        let data = cluster.data();
        sh(&format!("rm /run/minke/*/control.sock && test -s {}/lock", data.display()));
        let out = minke(&["down", "--data-dir", data.to_str().expect("UTF-8")]);
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success() && said.contains("does not answer: ending it"), "{said}");
        assert!(cluster.ended(), "a daemon that is told to end ends well");
        super::instances::nothing_left(&data);
    });
}

#[test]
fn the_nodes_name_is_kept() {
    isolated("data_dir::the_nodes_name_is_kept", || {
        let mut cluster = Cluster::up(&[]);
        cluster.kubectl(&["run", "a", "--image=busybox:1.36", "--", "sleep", "1000"]);
        cluster.wait("condition=Ready", "pod/a");
        assert!(cluster.terminate());
        sh("hostname elsewhere");
        cluster.start();
        cluster.wait("condition=Ready", "pod/a");
        assert_eq!(cluster.kubectl(&["get", "nodes", "-o", "name"]), "node/e2e\n");
        cluster.kubectl(&["exec", "a", "--", "true"]);
        assert!(cluster.terminate());
        let config = cluster.dir.path().join("other.yaml");
        fs::write(&config, "apiVersion: minke.dev/v1alpha1\nkind: Config\nnodeName: other\n")
            .expect("a file");
        let data = cluster.data();
        let said = refused(&[
            "up",
            "--data-dir",
            data.to_str().expect("UTF-8"),
            "--config",
            config.to_str().expect("UTF-8"),
        ]);
        assert!(said.contains("keep \"e2e\", or choose another --data-dir"), "{said}");
    });
}

#[test]
fn what_the_shell_gave_does_not_matter() {
    isolated("data_dir::what_the_shell_gave_does_not_matter", || {
        let mut cluster = Cluster::new(&[]);
        cluster.shell = Some("umask 0077; ulimit -Sn 100".to_owned());
        cluster.start();
        let run = "umask; ulimit -n; ls -ld /tmp/new | cut -c1-10; cat /proc/self/oom_score_adj";
        let line = format!("mkdir -p /tmp/new; {run}; sleep 1000");
        cluster.kubectl(&["run", "a", "--image=busybox:1.36", "--", "sh", "-c", &line]);
        cluster.wait("condition=Ready", "pod/a");
        let said = cluster.kubectl(&["logs", "a"]);
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(words[..3], ["0022", "1024", "drwxr-xr-x"], "{said}");
        assert_eq!(words[3], "1000", "a BestEffort container's own: {said}");
        let pid = fs::read_to_string(cluster.data().join("lock")).expect("the lock");
        let limits = fs::read_to_string(format!("/proc/{}/limits", pid.trim())).expect("the daemon");
        let files = limits.lines().find(|l| l.starts_with("Max open files")).expect("a limit");
        let words: Vec<&str> = files.split_whitespace().collect();
        assert_eq!(words[3], words[4], "{files}");
        // As low as these privileges allow, which `minke check` says.
        let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", pid.trim())).expect("the daemon");
        let check = String::from_utf8_lossy(&minke(&["check"]).stdout).into_owned();
        let line = check.lines().find(|l| l.contains("oom score")).expect("a line");
        assert!(line.split_whitespace().any(|word| word == score.trim()), "{score} in {line}");
        let mode = sh(&format!("stat -c %a {}/lock {0}", cluster.data().display()));
        assert_eq!(mode, "600\n700\n");
    });
}
