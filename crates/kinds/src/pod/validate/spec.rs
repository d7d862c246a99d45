//! The rules of a Pod's spec, and those that relate its own fields (`ValidatePodSpec`).
//!
//! Invariant: every error is found, in upstream's order and with its path and words. Absent: what a Pod's metadata must
//! satisfy, and Windows security options.

use schema::validation::{At, Run, Seen, any, field, here, set};

use super::{containers, limits, scheduling, security, volumes};
use crate::field::{GoField, go_form};
use crate::names;
use crate::value::{int, items, text};

/// The type that functions look for around them.
pub(super) const SPEC_TYPE: &str = "io.k8s.api.core.v1.PodSpec";
/// The type of a Pod, around its spec; a template has none.
pub(super) const POD_TYPE: &str = "io.k8s.api.core.v1.Pod";

/// Pull policies, of containers and of image volumes.
pub(super) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];

/// A resource claim inside upstream.
const CLAIM_FORM: &[GoField] = &[
    GoField::text("name", "Name"),
    GoField::pointer("resourceClaimName", "ResourceClaimName"),
    GoField::pointer("resourceClaimTemplateName", "ResourceClaimTemplateName"),
];

schema::rules! {
    /// A spec, of a Pod or of a template.
    pub(super) SPEC: "io.k8s.api.core.v1.PodSpec" = [
        field("terminationGracePeriodSeconds").required(),
        field("volumes").with(volumes::check),
        field("resourceClaims").with(resource_claims),
        field("containers").with(containers::app),
        field("initContainers").with(containers::init),
        field("ephemeralContainers").with(containers::ephemeral),
        set("resources").with(limits::pod),
        field("containers").with(host_network),
        field("restartPolicy").required().one_of(&["Always", "OnFailure", "Never"]),
        field("dnsPolicy").required().one_of(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
        field("nodeSelector").with(labels),
        field("securityContext").inner(&security::POD),
        field("affinity").inner(&scheduling::AFFINITY),
        field("dnsConfig").with(dns),
        field("readinessGates").each(&GATE),
        field("schedulingGates").with(scheduling::gates),
        field("topologySpreadConstraints").each(&scheduling::SPREAD),
        here().with(security::host_users),
        any("serviceAccountName").format(base::names::dns1123_subdomain),
        any("nodeName").format(base::names::dns1123_subdomain),
        set("activeDeadlineSeconds").within(1, i32::MAX as i64),
        any("hostname").format(base::names::dns1123_label),
        any("subdomain").format(base::names::dns1123_label),
        set("hostnameOverride").with(no_other_hostname).format(base::names::dns1123_subdomain)
            .with(hostname_fits),
        field("tolerations").each(&scheduling::TOLERATION),
        field("hostAliases").each(&HOST_ALIAS),
        any("priorityClassName").format(base::names::dns1123_subdomain),
        set("runtimeClassName").format(base::names::dns1123_subdomain),
        set("preemptionPolicy").filled().one_of(&["PreemptLowerPriority", "Never"]),
        set("overhead").with(limits::overhead),
        set("os").with(security::os),
    ];
    /// A readiness gate.
    GATE: "io.k8s.api.core.v1.PodReadinessGate" = [
        field("conditionType").format(base::labels::qualified_name_errors),
    ];
    /// Names a Pod knows by itself.
    HOST_ALIAS: "io.k8s.api.core.v1.HostAlias" = [
        field("ip").format(names::ip),
        field("hostnames").with(hostnames),
    ];
    /// Whom a Pod asks for names.
    DNS: "io.k8s.api.core.v1.PodDNSConfig" = [
        field("nameservers").with(nameservers),
        field("searches").with(searches),
        field("options").with(options),
    ];
    /// A claim of a Pod.
    CLAIM: "io.k8s.api.core.v1.PodResourceClaim" = [
        here().with(claim_source),
        set("resourceClaimName").format(base::names::dns1123_subdomain),
        set("resourceClaimTemplateName").format(base::names::dns1123_subdomain),
    ];
}

/// Labels, or a selector of them.
pub(crate) fn labels<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    names::check_labels(run, at, at.value());
}

/// A label selector.
pub(crate) fn label_selector<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    names::check_label_selector(run, at, at.value());
}

fn no_other_hostname<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.enclosing(SPEC_TYPE) else { return };
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.is(field) {
            run.forbidden(at, format!("may not be specified when {field} is true"));
        }
    }
}

fn hostname_fits<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text().len() > 64 {
        run.invalid(at, at.text(), "must be no more than 64 bytes");
    }
}

fn hostnames<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    at.items().for_each(|name| names::check_subdomain(run, &name, name.text()));
}

fn resource_claims<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut seen = Seen::default();
    for claim in at.items() {
        let name = claim.child("name");
        if name.text().is_empty() {
            run.required(&name, "");
        } else if seen.insert(name.text()) {
            names::check_label(run, &name, name.text());
        } else {
            run.duplicate(&name, name.text());
        }
        CLAIM.check(&claim, run);
    }
}

fn claim_source<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let detail = match (at.has("resourceClaimName"), at.has("resourceClaimTemplateName")) {
        (true, true) => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        (false, false) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
        _ => return,
    };
    run.invalid_as(at, go_form(at.value(), CLAIM_FORM), detail);
}

/// Ports of a Pod in the host's network are the host's.
fn host_network<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.enclosing(SPEC_TYPE) else { return };
    if !spec.is("hostNetwork") {
        return;
    }
    let is_pod = at.enclosing(POD_TYPE).is_some();
    for container in at.items() {
        for port in container.child("ports").items() {
            let (host, own) = (port.child("hostPort"), int(port.get("containerPort")));
            if (is_pod || host.int() != 0) && host.int() != own {
                run.invalid(&host, host.int(), "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

/// A Pod without the cluster's names has its own; what is missing is told alone.
fn dns<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let own = at.enclosing(SPEC_TYPE).is_some_and(|spec| spec.text_of("dnsPolicy") == "None");
    if own && !at.is_set() {
        return run.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
    }
    if own && items(at.get("nameservers")).is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return run.required(&at.child("nameservers"), detail);
    }
    DNS.check(at, run);
}

fn nameservers<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() > 3 {
        run.invalid(at, at.value().clone(), "must not have more than 3 nameservers");
    }
    for server in at.items() {
        names::check(run, &server, server.text(), names::ip(server.text()));
    }
}

fn searches<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() > 32 {
        run.invalid(at, at.value().clone(), "must not have more than 32 search paths");
    }
    let bytes: usize = items(at.value()).iter().map(|search| text(search).len() + 1).sum();
    if bytes > 2048 + 1 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        run.invalid(at, at.value().clone(), detail);
    }
    for path in at.items().filter(|path| path.text() != ".") {
        let search = path.text().strip_suffix('.').unwrap_or(path.text());
        names::check(run, &path, search, names::subdomain_with_underscore(search));
    }
}

fn options<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for option in at.items().filter(|option| option.text_of("name").is_empty()) {
        run.required(&option, "must not be empty");
    }
}
