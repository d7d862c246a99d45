//! Every kind through the steps of the request path, from YAML to table cells.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::kind::{Endpoint, Kind};
use crate::{built_in, decode, meta, schema};

/// A stored object as POST makes it, with the errors found on the way.
fn post(yaml: &str) -> (&'static Arc<Kind>, Value, String) {
    let bytes = decode::yaml_to_json(yaml).expect("valid YAML");
    let (api_version, name) = decode::type_meta(&bytes).expect("with apiVersion and kind");
    let kind = built_in().by_kind(&api_version, &name).expect("in the table");
    let ty = schema::root(&kind.group, &kind.version, &kind.kind).expect("in the schema");
    let decoded = decode::decode(&bytes, ty).expect("of the right types");
    assert!(decoded.problems.is_empty(), "{:?}", decoded.problems);
    let mut obj = decoded.value;
    kind.strategy.default(&mut obj);
    let defaulted = obj.clone();
    kind.strategy.default(&mut obj);
    assert_eq!(obj, defaulted, "defaulting twice changes nothing more");
    meta::wipe_system_fields(&mut obj);
    if kind.namespaced {
        obj["metadata"]["namespace"] = json!("default");
    }
    obj["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    obj["metadata"]["creationTimestamp"] = json!("1970-01-01T00:00:00Z");
    kind.prepare_create(&mut obj);
    let text = meta::create_errors(&obj, kind).to_string();
    let again = decode::normalise(obj.clone(), ty).expect("still of the right types");
    assert_eq!(again.value, obj, "what is stored is canonical");
    (kind, obj, text)
}

const OBJECTS: &[&str] = &[
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}",
    "{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {k: v}}",
    "{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
    "{apiVersion: v1, kind: Node, metadata: {name: a}, status: {capacity: {cpu: 2, memory: 1Gi}}}",
    "{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}",
    "{apiVersion: v1, kind: ResourceQuota, metadata: {name: a}, spec: {hard: {pods: 1, requests.cpu: 1}}}",
    "{apiVersion: v1, kind: LimitRange, metadata: {name: a}, spec: {limits: [{type: Container, max: {cpu: 1}}]}}",
    "{apiVersion: v1, kind: PodTemplate, metadata: {name: a}, template: {spec: {containers: [{name: c, image: x}]}}}",
    "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {volumes: [{name: v}, {name: h, hostPath: {path: /x}}],
      containers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /v}], ports: [{containerPort: 80}],
        env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
              {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}],
        resources: {limits: {cpu: 0.5, memory: 64Mi}}, readinessProbe: {httpGet: {port: 80}}}]}}",
    "{apiVersion: v1, kind: Event, metadata: {name: a}, involvedObject: {kind: Pod, name: p, namespace: default}}",
    "{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: a}, regarding: {kind: Pod, namespace: default},
      eventTime: '2024-01-01T00:00:00.000000Z', reportingController: a/b, reportingInstance: i, action: A, reason: R,
      type: Normal, note: text}",
    "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}},
      template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}}",
    "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}},
      template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}}",
    "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, volumeClaimTemplates: [
      {metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}],
      template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}}",
    "{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: a}, revision: 1, data: {a: [1]}}",
    "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}},
      template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}}",
    "{apiVersion: v1, kind: ReplicationController, metadata: {name: a}, spec: {
      template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}}",
    "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: 3,
      scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}, behavior: {scaleUp: {policies: []}}}}",
    "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: 3,
      scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}}",
    "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: a}, webhooks: [
      {name: w.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://localhost/w'},
        rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}]}",
    "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: a}, webhooks: [
      {name: w.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://localhost/w'},
        rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}]}",
    "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: foos.e.com}, spec: {group: e.com,
      scope: Namespaced, names: {plural: foos, kind: Foo}, versions: [{name: v1, served: true, storage: true,
        schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object}}}}}]}}",
    "{apiVersion: v1, kind: Endpoints, metadata: {name: a}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}",
    "{apiVersion: networking.k8s.io/v1, kind: IPAddress, metadata: {name: 10.0.0.1}, spec: {parentRef: {resource: services,
      namespace: default, name: s}}}",
    "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: a}, spec: {controller: e.com/c,
      parameters: {kind: P, name: x}}}",
    "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a}, spec: {rules: [{host: '*.e.com', http: {paths: [
      {path: /x, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}}",
    "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {},
      ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}], egress: [{}]}}",
    "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: a}, spec: {cidrs: [10.0.0.0/24]}}",
    "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {a: b}, ports: [{port: 80}],
      type: NodePort, sessionAffinity: ClientIP}}",
    "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4,
      endpoints: [{addresses: [10.0.0.1], deprecatedTopology: {a: b}}], ports: [{port: 80}]}",
    "{apiVersion: v1, kind: PersistentVolume, metadata: {name: a}, spec: {capacity: {storage: 1Gi},
      accessModes: [ReadWriteOnce], hostPath: {path: /x}}}",
    "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a}, spec: {accessModes: [ReadWriteOnce],
      resources: {requests: {storage: 1Gi}}}}",
    "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a}, provisioner: e.com/p}",
    "{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: a}, driverName: d, parameters: {a: b}}",
    "{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: a}, spec: {attacher: d, nodeName: n1,
      source: {persistentVolumeName: v}}}",
    "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: a}, spec: {}}",
    "{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: a}, spec: {drivers: [{name: d, nodeID: n1}]}}",
    "{apiVersion: storage.k8s.io/v1, kind: CSIStorageCapacity, metadata: {name: a}, storageClassName: c, capacity: 1Gi}",
    "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: a}, spec: {leaseDurationSeconds: 10}}",
    // A request of nobody, with a key and a signature of no bytes.
    "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: a}, spec: {signerName: e.com/s,
      usages: [client auth], request: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUNFd0ZBSUJBREFBTUFzd0JnWUVLZ01F\
      QlFNQkFLQUFNQVlHQkNvREJBVURBUUE9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=}}",
    "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {schedule: '@daily', timeZone: Europe/Paris, jobTemplate:
      {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}}",
    "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a}, spec: {minAvailable: 50%, selector: {}}}",
    "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: a}, value: 10, globalDefault: true}",
    "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: 'a:b'}, rules: [{verbs: [get], apiGroups: [''],
      resources: [pods]}]}",
    "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: 'a:b'}}",
    "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: 'a:b'}, roleRef: {kind: Role, name: r},
      subjects: [{kind: User, name: u}]}",
    "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'a:b'}, roleRef: {
      kind: ClusterRole, name: r}, subjects: [{kind: ServiceAccount, name: s, namespace: ns}]}",
    "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: a}, spec: {
      validations: [{expression: 'object.spec.replicas < 5'}], matchConstraints: {resourceRules: [{operations: [CREATE],
      apiGroups: [apps], apiVersions: [v1], resources: [deployments]}]}}}",
    "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: a}, spec: {
      priorityLevelConfiguration: {name: l}}}",
    "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: a}, spec: {type: Limited,
      limited: {limitResponse: {type: Queue, queuing: {}}}}}",
    "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: a}, spec: {
      policyName: p, validationActions: [Deny]}}",
    "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: a}, handler: h, overhead: {podFixed: {cpu: 10m}}}",
];

#[test]
fn every_stored_kind_is_created_shown_and_left_alone() {
    let mut seen = Vec::new();
    for yaml in OBJECTS {
        let (kind, obj, errors) = post(yaml);
        assert_eq!(errors, "[]", "{yaml}");
        let cells = kind.strategy.cells(&obj, 60);
        assert_eq!(cells.len(), kind.strategy.columns().len(), "{}", kind.kind);
        let mut obj = obj;
        obj["metadata"]["resourceVersion"] = json!("1");
        let mut new = obj.clone();
        meta::keep_system_fields(&mut new, &obj);
        kind.prepare_update(&mut new, &obj, Endpoint::Main);
        assert_eq!(new, obj, "an update with what is there changes nothing");
        assert_eq!(meta::update_errors(&new, &obj, kind, Endpoint::Main).to_string(), "[]");
        assert!(!kind.is_new_generation(&new, &obj));
        for field in kind.strategy.selectable_fields() {
            kind.strategy.field(&obj, field);
        }
        seen.push((kind.group.as_str(), kind.kind.as_str()));
    }
    let (_, _, errors) = post(HELLO);
    assert_eq!(errors, "[]");
    seen.push(("batch", "Job"));
    for kind in built_in().iter().filter(|k| k.is_stored()) {
        assert!(seen.contains(&(&*kind.group, &*kind.kind)), "{} {} has no example", kind.group, kind.kind);
    }
}

const HELLO: &str = r#"
apiVersion: batch/v1
kind: Job
metadata:
  name: hello
spec:
  template:
    spec:
      containers:
      - name: hello
        image: busybox
        command: ['sh', '-c', 'echo "Hello, Kubernetes!" && sleep 3600']
      restartPolicy: OnFailure
"#;

#[test]
fn the_job_of_the_documentation() {
    let (kind, job, _) = post(HELLO);
    let uid = "00000000-0000-4000-8000-000000000000";
    assert_eq!(
        job["spec"],
        json!({
            "backoffLimit": 6, "completionMode": "NonIndexed", "completions": 1, "parallelism": 1, "suspend": false,
            "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
            "template": {
                "metadata": {"labels": {
                    "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "hello",
                    "controller-uid": uid, "job-name": "hello"}},
                "spec": {
                    "containers": [{
                        "name": "hello", "image": "busybox", "imagePullPolicy": "Always", "resources": {},
                        "command": ["sh", "-c", "echo \"Hello, Kubernetes!\" && sleep 3600"],
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "OnFailure",
                    "schedulerName": "default-scheduler", "securityContext": {},
                    "terminationGracePeriodSeconds": 30},
            },
        })
    );
    assert_eq!(
        json!(kind.strategy.cells(&job, 60)),
        json!([
            "hello",
            "Running",
            "0/1",
            "",
            "60s",
            "hello",
            "busybox",
            format!("batch.kubernetes.io/controller-uid={uid}")
        ])
    );
}

#[test]
fn rows_agree_with_themselves() {
    let all: Vec<&Arc<Kind>> = built_in().iter().collect();
    for (i, kind) in all.iter().enumerate() {
        let same =
            |k: &&&Arc<Kind>| (&k.group, &k.version, &k.plural) == (&kind.group, &kind.version, &kind.plural);
        assert_eq!(all.iter().filter(same).count(), 1, "{}", kind.plural);
        let singular = if kind.is_measured { String::new() } else { kind.kind.to_lowercase() };
        assert_eq!(kind.singular, singular);
        assert_eq!(kind.is_stored(), kind.verbs.contains(&"get") && !kind.is_measured, "{}", kind.plural);
        assert_eq!(kind.is_stored(), !kind.storage_version_hash.is_empty(), "{}", kind.plural);
        assert!(kind.ty().is_some(), "{} has no schema", kind.kind);
        assert!(kind.subresources.is_sorted_by_key(|s| s.name), "{}", kind.plural);
        let stored = built_in().by_bucket(&kind.bucket).filter(|k| k.is_stored());
        assert!(
            stored.is_none_or(|k| k.stored_as.is_none()),
            "{}: the stored version comes first",
            kind.plural
        );
        if let Some(next) = all.get(i + 1).filter(|k| k.group == kind.group && k.version == kind.version) {
            assert!(kind.plural < next.plural, "{} after {}", next.plural, kind.plural);
        }
    }
}
