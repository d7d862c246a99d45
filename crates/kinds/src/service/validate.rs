//! What makes a Service valid, and what may change in it (`ValidateService`, `ValidateServiceUpdate`).
//!
//! Invariants: errors come in upstream's order; works before addresses and ports are given out, so that these may be absent.

use schema::addresses::{check_endpoint, check_port};
use schema::validation::{At, Run, Seen, field, here, set};
use serde_json::{Value, json};

use super::{Needs, families, is_headless};
use crate::field::{ErrorList, ErrorType, FieldError, GoField, Path, Shown, go_form};
use crate::pod::validate::labels;
use crate::value::{entries, int, is_set, items, text};
use crate::{meta, names};

/// The port of the kubelet, which load balancers may not offer.
const KUBELET: i64 = 10_250;
/// Longest time that a client stays with its endpoint, in seconds.
const STICKY: i64 = 86_400;
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const ONCE: &str = "may not change once set";
const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["Cluster", "Local"];
/// A port inside upstream, by which ports are told apart.
const PORT_FORM: &[GoField] = &[
    GoField::text("name", "Name"),
    GoField::text("protocol", "Protocol"),
    GoField::pointer("appProtocol", "AppProtocol"),
    GoField::pointer("port", "Port"),
    GoField::pointer("targetPort", "TargetPort"),
    GoField::pointer("nodePort", "NodePort"),
];

schema::rules! {
    WHOLE: "io.k8s.api.core.v1.Service" = [
        field("metadata.annotations").with(topology),
        field("spec").inner(&SPEC),
        here().with(source_ranges),
        field("spec").inner(&OUTSIDE),
    ];
    SPEC: "io.k8s.api.core.v1.ServiceSpec" = [
        here().with(has_ports),
        here().with(by_type),
        field("ports").with(ports),
        field("selector").with(labels),
        field("sessionAffinity").required().one_of(&["ClientIP", "None"]),
        here().with(affinity),
        here().inner(&families::RELATED),
        field("externalIPs").with(external_ips),
        field("type").required().one_of(TYPES),
        here().with(no_node_ports),
        field("ports").with(told_apart),
    ];
    OUTSIDE: "io.k8s.api.core.v1.ServiceSpec" = [
        here().with(balancer_ports),
        here().with(class),
        here().with(external_policy),
        set("internalTrafficPolicy").one_of(POLICIES),
        set("trafficDistribution").one_of(&["PreferClose", "PreferSameZone", "PreferSameNode"]),
    ];
    PORT: "io.k8s.api.core.v1.ServicePort" = [
        field("port").within(1, 65535),
        field("protocol").required().one_of(&["SCTP", "TCP", "UDP"]),
        field("targetPort").with(|at, run| check_port(run, at, at.value())),
        set("appProtocol").format(base::labels::qualified_name_errors),
    ];
    STATUS: "io.k8s.api.core.v1.Service" = [
        field("status.loadBalancer.ingress").with(no_stray_ingress).each(&INGRESS),
    ];
    INGRESS: "io.k8s.api.core.v1.LoadBalancerIngress" = [
        here().with(ingress),
    ];
}

/// A new Service, but for its metadata.
pub(super) fn spec(service: &Value) -> ErrorList {
    WHOLE.validate(service, None)
}

/// A changed status.
pub(super) fn status(service: &Value) -> ErrorList {
    STATUS.validate(service, None)
}

/// A changed Service.
pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec_new, spec_old) = (&new["spec"], &old["spec"]);
    if !Needs(spec_new).is_external_name() && !Needs(spec_old).is_external_name() {
        addresses_stay(&mut errors, spec_new, spec_old);
        families_stay(&mut errors, spec_new, spec_old);
    }
    let (needs, needed) = (Needs(spec_new), Needs(spec_old));
    let (class, class_before) = (&spec_new["loadBalancerClass"], &spec_old["loadBalancerClass"]);
    if needs.is_load_balancer() && needed.is_load_balancer() && class != class_before {
        errors.invalid(&Path::new("spec.loadBalancerClass"), class.clone(), ONCE);
    }
    let port = |spec: &Value| int(&spec["healthCheckNodePort"]);
    if needs.health_check() && needed.health_check() && port(spec_new) != port(spec_old) {
        errors.forbidden(&Path::new("spec.healthCheckNodePort"), "field is immutable");
    }
    errors.extend(meta::whole(new, &super::KIND));
    errors.extend(spec(new));
    errors
}

/// The first address stays, and a second one is let go by becoming single-stack only.
fn addresses_stay(errors: &mut ErrorList, new: &Value, old: &Value) {
    if is_headless(new) && is_headless(old) {
        return;
    }
    let (before, now) = (items(&old["clusterIPs"]), items(&new["clusterIPs"]));
    let path = Path::new("spec.clusterIPs");
    if before.len() == now.len() {
        for i in (0..now.len()).filter(|i| before[*i] != now[*i]) {
            errors.invalid(&path.index(i), new["clusterIPs"].clone(), ONCE);
        }
        return;
    }
    if before.len() > now.len() && now.is_empty() {
        errors.invalid(&path.index(0), new["clusterIPs"].clone(), "primary clusterIP can not be unset");
    }
    first_stays(errors, &path, [before, now], &new["clusterIPs"]);
    if before.len() > now.len() && now.len() == 1 {
        becomes_single(errors, new, "clusterIP");
    }
}

fn families_stay(errors: &mut ErrorList, new: &Value, old: &Value) {
    if is_headless(new) || is_headless(old) {
        return;
    }
    let (before, now) = (items(&old["ipFamilies"]), items(&new["ipFamilies"]));
    let path = Path::new("spec.ipFamilies");
    if before.len() == now.len() {
        for _ in (0..now.len()).filter(|i| before[*i] != now[*i]) {
            errors.invalid(&path.index(0), new["ipFamilies"].clone(), ONCE);
        }
        return;
    }
    if before.len() > now.len() && items(&new["clusterIPs"]).is_empty() {
        errors.invalid(&path.index(0), new["ipFamilies"].clone(), "primary ipFamily can not be unset");
    }
    first_stays(errors, &path, [before, now], &new["clusterIPs"]);
    if before.len() > now.len() && now.len() == 1 {
        becomes_single(errors, new, "ipFamily");
    }
}

fn first_stays(errors: &mut ErrorList, path: &Path<'_>, [before, now]: [&[Value]; 2], shown: &Value) {
    if let (Some(before), Some(now)) = (before.first(), now.first())
        && before != now
    {
        errors.invalid(&path.index(0), shown.clone(), ONCE);
    }
}

fn becomes_single(errors: &mut ErrorList, new: &Value, what: &str) {
    let policy = &new["ipFamilyPolicy"];
    if text(policy) != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.invalid(&Path::new("spec.ipFamilyPolicy"), policy.clone(), detail);
    }
}

fn topology<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (mode, hints) = (&at.value()[MODE], &at.value()[HINTS]);
    if is_set(mode) && is_set(hints) && mode != hints {
        let detail = format!("must match annotations[{HINTS}] when both are specified");
        run.invalid(&at.path().key(MODE), mode.clone(), detail);
    }
}

fn has_ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let spec = at.value();
    if items(&spec["ports"]).is_empty() && !is_headless(spec) && !Needs(spec).is_external_name() {
        run.required(&at.child("ports"), "");
    }
}

fn by_type<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (spec, kind) = (at.value(), at.text_of("type"));
    if Needs(spec).is_load_balancer() {
        for port in at.child("ports").items().filter(|port| int(port.get("port")) == KUBELET) {
            let detail = format!("may not expose port {KUBELET} externally since it is used by kubelet");
            run.invalid(&port, KUBELET, detail);
        }
    }
    if Needs(spec).node_ports() && is_headless(spec) {
        let detail = format!("may not be set to 'None' for {kind} services");
        run.invalid(&at.child("clusterIPs").index(0), super::NO_ADDRESS, detail);
    }
    if !Needs(spec).is_external_name() {
        return;
    }
    for field in [at.child("clusterIPs"), at.child("ipFamilies"), at.child("ipFamilyPolicy")] {
        if field.size() > 0 || field.value().is_string() {
            run.forbidden(&field, "may not be set for ExternalName services");
        }
    }
    let name = at.child("externalName");
    match name.text().strip_suffix('.').unwrap_or(name.text()) {
        "" => run.required(&name, ""),
        cname => names::check_subdomain(run, &name, cname),
    }
}

fn ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut seen = Seen::default();
    for port in at.items() {
        let name = port.child("name");
        if !name.text().is_empty() {
            names::check_label(run, &name, name.text());
            if !seen.insert(name.text()) {
                run.duplicate(&name, name.text());
            }
        } else if at.size() > 1 {
            run.required(&name, "");
        }
        PORT.check(&port, run);
    }
}

fn affinity<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let config = at.child("sessionAffinityConfig");
    match at.text_of("sessionAffinity") {
        "ClientIP" => {
            let client = config.child("clientIP");
            let timeout = client.child("timeoutSeconds");
            if !config.is_set() {
                let detail = "when session affinity type is ClientIP";
                run.required(&config, detail);
            } else if !client.is_set() {
                run.required(&client, "when session affinity type is ClientIP");
            } else if !timeout.is_set() {
                run.required(&timeout, "when session affinity type is ClientIP");
            } else if !(1..=STICKY).contains(&timeout.int()) {
                let detail = format!("must be greater than 0 and less than {STICKY}");
                run.invalid(&timeout, timeout.int(), detail);
            }
        }
        "None" if config.is_set() => run.forbidden(&config, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn external_ips<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for address in at.items() {
        let complaints = names::ip(address.text());
        if complaints.is_empty() {
            check_endpoint(run, &address, address.text());
        }
        names::check(run, &address, address.text(), complaints);
    }
}

fn no_node_ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text_of("type") == "ClusterIP" {
        for port in at.child("ports").items().filter(|port| int(port.get("nodePort")) != 0) {
            run.forbidden(&port.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
}

/// No two ports of one protocol have one number, neither here nor on the nodes.
fn told_apart<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let key = |port: &Value, field: &str| (text(&port["protocol"]).to_owned(), int(&port[field]));
    let mut seen = std::collections::HashSet::new();
    for port in at.items().filter(|port| int(port.get("nodePort")) != 0) {
        if !seen.insert(key(port.value(), "nodePort")) {
            run.duplicate(&port.child("nodePort"), port.get("nodePort").clone());
        }
    }
    seen.clear();
    for port in at.items() {
        if !seen.insert(key(port.value(), "port")) {
            let shown = json!({"protocol": port.text_of("protocol"), "port": int(port.get("port")), "targetPort": 0,
                "nodePort": 0});
            let mut error = FieldError::new(ErrorType::Duplicate, &port, None, "");
            error.value = Some(Shown::Text(go_form(&shown, PORT_FORM)));
            run.push(error);
        }
    }
}

/// Who may come in by a load balancer; an annotation said it before there was a field.
fn source_ranges<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (spec, meta) = (at.child("spec"), at.child("metadata"));
    let told = spec.child_path("LoadBalancerSourceRanges");
    let balancer = Needs(spec.value()).is_load_balancer();
    let ranges = items(spec.get("loadBalancerSourceRanges"));
    let annotations = meta.child("annotations");
    let annotated =
        entries(annotations.value()).find(|(key, _)| *key == RANGES).map(|(_, value)| text(value));
    if !ranges.is_empty() {
        if !balancer {
            run.forbidden(&told, BALANCER_ONLY);
        }
        for (i, range) in ranges.iter().map(|range| text(range).trim()).enumerate() {
            names::check(run, &told.index(i), range, names::cidr(range));
        }
    } else if let Some(annotated) = annotated {
        let path = annotations.path().key(RANGES);
        if !balancer {
            run.forbidden(&path, BALANCER_ONLY);
        }
        for range in annotated.split(',').map(str::trim).filter(|_| !annotated.trim().is_empty()) {
            names::check(run, &path, range, names::cidr(range));
        }
    }
}

fn balancer_ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (field, balancer) = (at.child("allocateLoadBalancerNodePorts"), Needs(at.value()).is_load_balancer());
    if field.is_set() && !balancer {
        run.forbidden(&field, BALANCER_ONLY);
    } else if !field.is_set() && balancer {
        run.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
}

fn class<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let class = at.child("loadBalancerClass");
    if !class.is_set() {
        return;
    }
    if Needs(at.value()).is_load_balancer() {
        names::check_qualified(run, &class, class.text());
    } else {
        run.forbidden(&class, BALANCER_ONLY);
    }
}

fn external_policy<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (policy, needs) = (at.child("externalTrafficPolicy"), Needs(at.value()));
    match (needs.external_policy(), policy.text()) {
        (false, "") => {}
        (false, other) => {
            run.invalid(&policy, other, "may only be set for externally-accessible services");
        }
        (true, "") => run.required(&policy, ""),
        (true, other) if !POLICIES.contains(&other) => run.not_supported(&policy, other, POLICIES),
        _ => {}
    }
    let port = at.child("healthCheckNodePort");
    if port.int() == 0 {
        return;
    }
    if needs.health_check() {
        for complaint in names::port_number(port.int()) {
            run.invalid(&port, port.int(), complaint);
        }
    } else {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        run.invalid(&port, port.int(), detail);
    }
}

fn no_stray_ingress<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let service = at.enclosing("io.k8s.api.core.v1.Service");
    let balancer = service.is_some_and(|service| Needs(service.get("spec")).is_load_balancer());
    if at.size() > 0 && !balancer {
        run.forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'");
    }
}

fn ingress<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let service = at.enclosing("io.k8s.api.core.v1.Service");
    if service.is_none_or(|service| !Needs(service.get("spec")).is_load_balancer()) {
        return;
    }
    let (ip, mode, host) = (at.child("ip"), at.child("ipMode"), at.child("hostname"));
    if !ip.text().is_empty() {
        names::check(run, &ip, ip.text(), names::ip(ip.text()));
    }
    match (ip.text().is_empty(), mode.is_set()) {
        (false, false) => run.required(&mode, "must be specified when `ip` is set"),
        (true, true) => run.forbidden(&mode, "may not be specified when `ip` is not set"),
        (false, true) if !matches!(mode.text(), "VIP" | "Proxy") => {
            run.not_supported(&mode, mode.text(), &["Proxy", "VIP"]);
        }
        _ => {}
    }
    if !host.text().is_empty() {
        names::check_subdomain(run, &host, host.text());
        if names::ip(host.text()).is_empty() {
            run.invalid(&host, host.text(), "must be a DNS name, not an IP address");
        }
    }
}
