//! What the controllers here need to do: the one list, which each controller's own row in `controllers` points at. What
//! upstream's role of the controller lacks of it is in a role of its own ([`crate::rbac::defaults`]).
//!
//! Invariant: a controller has the rights of upstream's role and of its row, and no others.

use crate::certificatesigningrequest::{NODE_PROXY, NODE_SERVING};

/// Verbs on resources (or `resource/subresource`) of one group; `*` is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Resources.
    pub resources: &'static [&'static str],
    /// Only those of these names; none is all.
    pub names: &'static [&'static str],
}

const fn right(
    verbs: &'static [&'static str],
    group: &'static str,
    resources: &'static [&'static str],
) -> Right {
    Right { verbs, group, resources, names: &[] }
}

const WATCH: &[&str] = &["list", "watch"];
const CHANGE: &[&str] = &["patch", "update"];
const REMOVE: &[&str] = &["delete", "patch", "update"];
const PODS: &[&str] = &["create", "delete", "patch"];
const ALL: &[&str] = &["*"];

/// Controllers by the name of their account in `kube-system`, in alphabetical order.
pub const CONTROLLERS: &[(&str, &[Right])] = &[
    (
        "certificate-controller",
        &[
            right(
                &["update"],
                "certificates.k8s.io",
                &["certificatesigningrequests/approval", "certificatesigningrequests/status"],
            ),
            right(&["delete"], "certificates.k8s.io", &["certificatesigningrequests"]),
            right(&["create"], "authorization.k8s.io", &["subjectaccessreviews"]),
            Right {
                names: &[NODE_SERVING, NODE_PROXY],
                ..right(&["approve"], "certificates.k8s.io", &["signers"])
            },
            Right { names: &[NODE_PROXY], ..right(&["sign"], "certificates.k8s.io", &["signers"]) },
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        &[right(&["escalate", "patch"], "rbac.authorization.k8s.io", &["clusterroles"])],
    ),
    (
        "cronjob-controller",
        &[
            right(&["create", "delete", "patch", "update"], "batch", &["jobs"]),
            right(CHANGE, "batch", &["cronjobs", "cronjobs/status", "cronjobs/finalizers"]),
        ],
    ),
    (
        "daemon-set-controller",
        &[
            right(CHANGE, "apps", &["daemonsets", "daemonsets/status", "daemonsets/finalizers"]),
            right(PODS, "", &["pods"]),
            right(PODS, "apps", &["controllerrevisions"]),
        ],
    ),
    (
        "deployment-controller",
        &[
            right(CHANGE, "apps", &["deployments", "deployments/status", "deployments/finalizers"]),
            right(&["create", "delete", "patch", "update"], "apps", &["replicasets"]),
        ],
    ),
    (
        "disruption-controller",
        &[right(CHANGE, "policy", &["poddisruptionbudgets/status"]), right(CHANGE, "", &["pods/status"])],
    ),
    ("endpoint-controller", &[right(&["create", "delete", "patch", "update"], "", &["endpoints"])]),
    (
        "endpointslice-controller",
        &[right(&["create", "delete", "patch", "update"], "discovery.k8s.io", &["endpointslices"])],
    ),
    (
        "endpointslicemirroring-controller",
        &[right(&["create", "delete", "patch", "update"], "discovery.k8s.io", &["endpointslices"])],
    ),
    ("ephemeral-volume-controller", &[right(&["create"], "", &["persistentvolumeclaims"])]),
    (
        "flow-schema-status-controller",
        &[
            right(&["update"], "flowcontrol.apiserver.k8s.io", &["flowschemas/status"]),
            right(WATCH, "flowcontrol.apiserver.k8s.io", &["flowschemas", "prioritylevelconfigurations"]),
        ],
    ),
    ("generic-garbage-collector", &[right(REMOVE, "*", ALL)]),
    (
        "horizontal-pod-autoscaler",
        &[
            right(CHANGE, "autoscaling", &["horizontalpodautoscalers/status"]),
            right(&["get", "update"], "*", &["*/scale"]),
            right(&["list"], "metrics.k8s.io", &["pods"]),
        ],
    ),
    (
        "job-controller",
        &[right(CHANGE, "batch", &["jobs", "jobs/status", "jobs/finalizers"]), right(PODS, "", &["pods"])],
    ),
    // Not controllers, but parts of each node: its DNS and its network policies.
    ("kube-dns", &[right(WATCH, "", &["services"]), right(WATCH, "discovery.k8s.io", &["endpointslices"])]),
    (
        "minke-local-provisioner",
        &[
            right(
                &["create", "delete", "get", "list", "patch", "update", "watch"],
                "",
                &["persistentvolumes"],
            ),
            right(CHANGE, "", &["persistentvolumeclaims", "persistentvolumeclaims/status"]),
            right(&["create"], "storage.k8s.io", &["storageclasses"]),
            right(&["create", "patch", "update"], "", &["events"]),
            right(&["create", "patch", "update"], "events.k8s.io", &["events"]),
        ],
    ),
    (
        "namespace-controller",
        &[
            right(&["delete", "deletecollection"], "*", ALL),
            right(CHANGE, "", &["namespaces/finalize", "namespaces/status"]),
        ],
    ),
    (
        "network-policies",
        &[right(WATCH, "", &["pods", "namespaces"]), right(WATCH, "networking.k8s.io", &["networkpolicies"])],
    ),
    (
        "node-controller",
        &[right(REMOVE, "", &["nodes", "nodes/status"]), right(REMOVE, "", &["pods", "pods/status"])],
    ),
    (
        "persistent-volume-binder",
        &[
            right(CHANGE, "", &["persistentvolumes", "persistentvolumes/status"]),
            right(CHANGE, "", &["persistentvolumeclaims", "persistentvolumeclaims/status"]),
        ],
    ),
    ("pod-garbage-collector", &[right(&["delete"], "", &["pods"]), right(CHANGE, "", &["pods/status"])]),
    ("pv-protection-controller", &[right(CHANGE, "", &["persistentvolumes"])]),
    ("pvc-protection-controller", &[right(CHANGE, "", &["persistentvolumeclaims"])]),
    (
        "replicaset-controller",
        &[
            right(CHANGE, "apps", &["replicasets", "replicasets/status", "replicasets/finalizers"]),
            right(PODS, "", &["pods"]),
        ],
    ),
    (
        "replication-controller",
        &[
            right(
                CHANGE,
                "",
                &[
                    "replicationcontrollers",
                    "replicationcontrollers/status",
                    "replicationcontrollers/finalizers",
                ],
            ),
            right(PODS, "", &["pods"]),
        ],
    ),
    ("resourcequota-controller", &[right(&["update"], "", &["resourcequotas/status"])]),
    ("root-ca-cert-publisher", &[right(&["create", "update"], "", &["configmaps"])]),
    ("service-account-controller", &[right(&["create"], "", &["serviceaccounts"])]),
    (
        "service-cidrs-controller",
        &[right(
            CHANGE,
            "networking.k8s.io",
            &["servicecidrs", "servicecidrs/finalizers", "servicecidrs/status"],
        )],
    ),
    ("service-controller", &[right(CHANGE, "", &["services/status"])]),
    (
        "statefulset-controller",
        &[
            right(CHANGE, "apps", &["statefulsets", "statefulsets/status", "statefulsets/finalizers"]),
            right(PODS, "", &["pods", "persistentvolumeclaims"]),
            right(PODS, "apps", &["controllerrevisions"]),
        ],
    ),
    // Upstream lets it act as the node controller, so there is no role of its own to tell of events by.
    (
        "taint-eviction-controller",
        &[
            right(&["delete"], "", &["pods"]),
            right(CHANGE, "", &["pods/status"]),
            right(&["create", "patch", "update"], "", &["events"]),
            right(&["create", "patch", "update"], "events.k8s.io", &["events"]),
        ],
    ),
    ("token-cleaner", &[right(&["delete"], "", &["secrets"])]),
    ("ttl-after-finished-controller", &[right(&["delete"], "batch", &["jobs"])]),
    (
        "validatingadmissionpolicy-status-controller",
        &[
            right(&["update"], "admissionregistration.k8s.io", &["validatingadmissionpolicies/status"]),
            right(WATCH, "apiextensions.k8s.io", &["customresourcedefinitions"]),
        ],
    ),
    (
        "volumeattributesclass-protection-controller",
        &[right(CHANGE, "storage.k8s.io", &["volumeattributesclasses"])],
    ),
];

/// The rights of a controller; `None` if there is none of that name.
#[must_use]
pub fn of(controller: &str) -> Option<&'static [Right]> {
    CONTROLLERS.iter().find(|(name, _)| *name == controller).map(|(_, rights)| *rights)
}
