//! Volumes and environment.

use std::io::{BufRead as _, BufReader};

use super::cluster::Cluster;
use super::isolate::{isolated, until};

const ALL: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {colour: blue, "file.txt": "text\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Pod
metadata: {name: vols, labels: {app: vols}}
spec:
  restartPolicy: Never
  volumes:
    - {name: conf, configMap: {name: conf}}
    - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
    - {name: mem, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
    - name: down
      downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
    - name: all
      projected:
        sources:
          - configMap: {name: conf, items: [{key: colour, path: a/colour}]}
          - secret: {name: keys}
  containers:
    - name: c
      image: busybox:1.36
      env:
        - {name: COLOUR, valueFrom: {configMapKeyRef: {name: conf, key: colour}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
        - {name: BOTH, value: "$(COLOUR)-$(NAME)"}
      resources: {limits: {cpu: "1", memory: 64Mi}}
      command:
        - sh
        - -c
        - |
          echo "$BOTH $PASSWORD $CPU"
          cat /conf/file.txt /keys/password /down/labels; echo
          stat -c %a /keys/..data/password
          cat /all/a/colour /all/password; echo
          grep ' /mem tmpfs' /proc/mounts | cut -d' ' -f3
          cat /sub
      volumeMounts:
        - {name: conf, mountPath: /conf}
        - {name: keys, mountPath: /keys}
        - {name: mem, mountPath: /mem}
        - {name: down, mountPath: /down}
        - {name: all, mountPath: /all}
        - {name: conf, mountPath: /sub, subPath: file.txt}
"#;

#[test]
fn every_kind_and_env() {
    isolated("volumes::every_kind_and_env", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(ALL);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/vols");
        let want = "blue-vols hunter2 1\ntext\nhunter2app=\"vols\"\n400\nbluehunter2\ntmpfs\ntext\n";
        assert_eq!(cluster.kubectl(&["logs", "vols"]), want);
    });
}

/// A change comes with its watch event, and the Pod of another object hears nothing of it.
#[test]
fn a_changed_config_map_is_followed() {
    isolated("volumes::a_changed_config_map_is_followed", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {colour: blue}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  volumes: [{name: conf, configMap: {name: conf}}]\n  containers:\n  - {name: c, image: 'busybox:1.36', volumeMounts: [{name: conf, mountPath: /conf}], command: [sh, -c, 'until grep -q red /conf/colour; do sleep 0.05; done']}\n");
        cluster.wait("condition=Ready", "pod/p");
        cluster.kubectl(&["patch", "configmap", "conf", "-p", r#"{"data":{"colour":"red"}}"#]);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/p");
    });
}

#[test]
fn a_missing_config_map_holds_the_pod_back() {
    isolated("volumes::a_missing_config_map_holds_the_pod_back", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  containers:\n  - {name: c, image: 'busybox:1.36', command: [env], env: [{name: X, valueFrom: {configMapKeyRef: {name: late, key: x}}}]}\n");
        cluster.wait(
            "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError",
            "pod/p",
        );
        cluster.kubectl(&["create", "configmap", "late", "--from-literal=x=y"]);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/p");
        assert!(cluster.kubectl(&["logs", "p"]).contains("X=y\n"));
    });
}

const FILES: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: files}
spec:
  restartPolicy: Never
  volumes:
    - {name: env, emptyDir: {}}
    - {name: image, image: {reference: "busybox:1.36", pullPolicy: IfNotPresent}}
  initContainers:
    - name: writes
      image: busybox:1.36
      command: [sh, -c, "echo \"A='one two' # why\" > /env/f"]
      volumeMounts: [{name: env, mountPath: /env}]
  containers:
    - name: c
      image: busybox:1.36
      env:
        - {name: A, valueFrom: {fileKeyRef: {volumeName: env, path: f, key: A}}}
        - {name: B, valueFrom: {fileKeyRef: {volumeName: env, path: f, key: B, optional: true}}}
      command:
        - sh
        - -c
        - |
          echo "$A" "${B-unset}"
          cut -d: -f1 /image/etc/passwd | head -1; head -1 /group
          touch /image/x 2>/dev/null || echo refused
      volumeMounts: [{name: image, mountPath: /image}, {name: image, mountPath: /group, subPath: etc/group}]
---
apiVersion: v1
kind: Pod
metadata: {name: keyless}
spec:
  volumes: [{name: env, emptyDir: {}}]
  containers:
    - name: c
      image: busybox:1.36
      env: [{name: A, valueFrom: {fileKeyRef: {volumeName: env, path: f, key: A}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: imageless}
spec:
  volumes: [{name: image, image: {reference: "none:1", pullPolicy: Never}}]
  containers: [{name: c, image: "busybox:1.36", volumeMounts: [{name: image, mountPath: /image}]}]
"#;

#[test]
fn variables_from_files_and_images_as_volumes() {
    isolated("volumes::variables_from_files_and_images_as_volumes", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(FILES);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/files");
        assert_eq!(cluster.kubectl(&["logs", "files"]), "one two unset\nroot\nroot:x:0:\nrefused\n");
        let waiting = "{.status.containerStatuses[0].state.waiting";
        cluster.wait(&format!("jsonpath={waiting}.reason}}=CreateContainerConfigError"), "pod/keyless");
        let said =
            cluster.kubectl(&["get", "pod", "keyless", "-o", &format!("jsonpath={waiting}.message}}")]);
        assert_eq!(said, "env file \"f\" not found in volume \"env\"");
        let of = "involvedObject.name=imageless";
        let said = "jsonpath={.message}{\"\\n\"}";
        let mut events = cluster
            .kubectl_command(&["get", "events", "--field-selector", of, "--watch", "-o", said])
            .spawn()
            .expect("kubectl");
        let lines = BufReader::new(events.stdout.take().expect("a pipe")).lines();
        let why = "MountVolume.SetUp failed for volume \"image\" : Container image \"none:1\" is not present with pull \
                   policy of Never";
        assert!(lines.map_while(Result::ok).any(|line| line == why), "no event says why");
        events.kill().expect("kill");
        events.wait().expect("wait");
    });
}

const OF_IMAGE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: kept}
spec:
  restartPolicy: Never
  containers:
    - name: c
      image: kept:1
      imagePullPolicy: Never
      securityContext: {readOnlyRootFilesystem: true}
      command:
        - sh
        - -c
        - |
          head -1 /etc/passwd | cut -d: -f1; echo written > /etc/w && cat /etc/w
          grep -c -w kept /etc/hosts; touch /new/deep/x && ls /new/deep
          touch /new/x 2>/dev/null || echo refused
"#;

#[test]
fn those_of_an_image_are_written_in_a_read_only_root() {
    isolated("volumes::those_of_an_image_are_written_in_a_read_only_root", || {
        let cluster = Cluster::up(&[]);
        let mut image = xtask::kit::image::busybox().expect("busybox-static");
        let mut config: serde_json::Value = serde_json::from_slice(&image.config).expect("JSON");
        config["config"]["Volumes"] = serde_json::json!({"/etc": {}, "/new/deep": {}});
        image.config = serde_json::to_vec(&config).expect("JSON");
        let archive = cluster.dir.path().join("kept.tar");
        xtask::kit::image::save(&image, &["kept:1"], &archive).expect("an archive");
        let data = cluster.data();
        let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
        let imported =
            cluster.minke(&["image", "import", &path(&archive), "--data-dir", &path(&data)]).output();
        let imported = imported.expect("minke");
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        cluster.apply(OF_IMAGE);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/kept");
        assert_eq!(cluster.kubectl(&["logs", "kept"]), "root\nwritten\n1\nx\nrefused\n");
    });
}

const TRAVELLING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: travels}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: shelf, emptyDir: {}}]
  initContainers:
    - name: mounts
      image: busybox:1.36
      restartPolicy: Always
      securityContext: {privileged: true}
      command: [sh, -c, "mkdir /out/disk && mount -t tmpfs none /out/disk && echo arrived > /out/disk/f; exec sleep 3000"]
      startupProbe: {exec: {command: [test, -s, /out/disk/f]}, periodSeconds: 1}
      volumeMounts: [{name: shelf, mountPath: /out, mountPropagation: Bidirectional}]
  containers:
    - name: sees
      image: busybox:1.36
      command: [sh, -c, "cat /in/disk/f; until test -e /in/late/f; do sleep 0.1; done; cat /in/late/f; exec sleep 3000"]
      volumeMounts: [{name: shelf, mountPath: /in, mountPropagation: HostToContainer}]
"#;

/// A Pod with a directory of the host, from which or also to which mounts shall travel.
fn with_host_path(name: &str, path: &str, propagation: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  volumes: [{{name: host, hostPath: {{path: {path}}}}}]
  containers:
    - name: c
      image: busybox:1.36
      securityContext: {{privileged: true}}
      command: [sleep, "3000"]
      volumeMounts: [{{name: host, mountPath: /host, mountPropagation: {propagation}}}]
"#
    )
}

/// What is mounted for Pods, as the host sees it.
fn of_pods(cluster: &Cluster) -> Vec<String> {
    let below = format!(" {}/", cluster.data().join("pods").display());
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the table of mounts");
    let lines = table.lines().filter(|line| line.contains(&below) && line.contains("empty-dir"));
    lines.map(str::to_owned).collect()
}

#[test]
fn mounts_travel_where_nothing_is_shared() {
    isolated("volumes::mounts_travel_where_nothing_is_shared", || {
        let mut cluster = Cluster::up(&[]);
        let logs = |cluster: &Cluster| cluster.kubectl(&["logs", "travels", "-c", "sees"]);
        cluster.apply(TRAVELLING);
        cluster.wait("condition=Ready", "pod/travels");
        assert_eq!(
            of_pods(&cluster).len(),
            2,
            "the volume and what is mounted in it: {:?}",
            of_pods(&cluster)
        );
        cluster.kill();
        cluster.start();
        let late = "mkdir /out/late && mount -t tmpfs none /out/late && echo late > /out/late/f";
        cluster.kubectl(&["exec", "travels", "-c", "mounts", "--", "sh", "-c", late]);
        until("the late file", || logs(&cluster) == "arrived\nlate\n");
        assert_eq!(of_pods(&cluster).len(), 3, "{:?}", of_pods(&cluster));
        cluster.kubectl(&["delete", "pod", "travels", "--timeout=60s"]);
        until("the end of the mounts", || of_pods(&cluster).is_empty());

        let host = cluster.dir.path().join("host");
        std::fs::create_dir(&host).expect("a directory");
        let host = host.to_str().expect("UTF-8");
        let waiting = "{.status.containerStatuses[0].state.waiting";
        for (name, propagation, what) in
            [("both", "Bidirectional", "shared"), ("from", "HostToContainer", "shared or slave")]
        {
            cluster.apply(&with_host_path(name, host, propagation));
            let pod = format!("pod/{name}");
            cluster.wait(&format!("jsonpath={waiting}.reason}}=CreateContainerError"), &pod);
            let said = cluster.kubectl(&["get", &pod, "-o", &format!("jsonpath={waiting}.message}}")]);
            assert_eq!(said, format!("path {host:?} is mounted on \"/run\" but it is not a {what} mount"));
        }
        super::isolate::sh(&format!("mount --bind {host} {host} && mount --make-shared {host}"));
        cluster.wait("condition=Ready", "pod/both");

        cluster.apply(TRAVELLING);
        cluster.wait("condition=Ready", "pod/travels");
        assert_eq!(of_pods(&cluster).len(), 2, "{:?}", of_pods(&cluster));
        let data = cluster.data();
        let down = cluster.minke(&["down", "--data-dir", data.to_str().expect("UTF-8")]).status();
        assert!(down.expect("minke").success() && cluster.ended());
        assert_eq!(of_pods(&cluster), Vec::<String>::new());
    });
}
