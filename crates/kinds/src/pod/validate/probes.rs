//! Probes and lifecycle hooks (`validateProbe`, `validateHandler`).

use schema::addresses;
use schema::validation::{At, Member, Rule, Run, field, here, member, set};

use super::spec::SPEC_TYPE;
use crate::names;

const NONE: &str = "must specify a handler type";
const MORE: &str = "may not specify more than 1 handler type";

schema::rules! {
    /// What is done when a container starts or stops.
    pub(super) HOOK: "io.k8s.api.core.v1.LifecycleHandler" = [
        here().exactly_one(NONE, MORE, handlers(member("sleep", &SLEEP))),
    ];
    /// A liveness or startup probe.
    pub(super) PROBE: "io.k8s.api.core.v1.Probe" = [
        here().exactly_one(NONE, MORE, handlers(member("grpc", &GRPC))),
        counted("initialDelaySeconds"),
        counted("timeoutSeconds"),
        counted("periodSeconds"),
        counted("successThreshold"),
        counted("failureThreshold"),
        set("terminationGracePeriodSeconds").at_least_as(1, "must be greater than 0"),
        field("successThreshold").with(one_success),
    ];
    /// A readiness probe.
    pub(super) READINESS: "io.k8s.api.core.v1.Probe" = [
        here().exactly_one(NONE, MORE, handlers(member("grpc", &GRPC))),
        counted("initialDelaySeconds"),
        counted("timeoutSeconds"),
        counted("periodSeconds"),
        counted("successThreshold"),
        counted("failureThreshold"),
        set("terminationGracePeriodSeconds").at_least_as(1, "must be greater than 0")
            .with(|at, run| run.invalid(at, at.int(), "must not be set for readinessProbes")),
    ];
    EXEC: "io.k8s.api.core.v1.ExecAction" = [field("command").required()];
    HTTP_GET: "io.k8s.api.core.v1.HTTPGetAction" = [
        field("path").required(),
        field("port").with(port),
        field("scheme").one_of(&["HTTP", "HTTPS"]),
        field("httpHeaders").with(headers),
    ];
    TCP: "io.k8s.api.core.v1.TCPSocketAction" = [field("port").with(port)];
    GRPC: "io.k8s.api.core.v1.GRPCAction" = [field("port").with(port)];
    SLEEP: "io.k8s.api.core.v1.SleepAction" = [here().with(sleep)];
}

/// What both do, and one thing more.
fn handlers(own: Member) -> Vec<Member> {
    vec![member("exec", &EXEC), member("httpGet", &HTTP_GET), member("tcpSocket", &TCP), own]
}

fn counted(name: &'static str) -> Rule {
    field(name).at_least(0)
}

fn one_success<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.int() != 1 {
        run.invalid(at, at.int(), "must be 1");
    }
}

fn headers<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for header in at.items() {
        let name = header.text_of("name");
        names::check(run, at, name, names::header_name(name));
    }
}

fn sleep<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let seconds = at.child("seconds").int();
    let grace = at.enclosing(SPEC_TYPE).and_then(|s| s.get("terminationGracePeriodSeconds").as_i64());
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        run.invalid(at, seconds, detail);
    }
}

/// A number or the name of a port.
fn port<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    addresses::check_port(run, at, at.value());
}
