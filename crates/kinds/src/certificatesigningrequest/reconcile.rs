//! What becomes of a request: approved where it is a node's, signed once it is approved, removed when it is old.
//!
//! `next` says what a turn is about; the shell asks what must be asked (may its author have such a certificate?) and has
//! signed what is to be signed. Upstream: `pkg/controller/certificates` (approver, signer, cleaner); certificates of nodes' endpoints
//! are approved here where their names are the node's own, which upstream leaves to others. Absent: keys.

use std::net::IpAddr;

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::Request;
use super::{APPROVED, CLIENT, DENIED, FAILED, KIND, NODE_CLIENT, NODE_PROXY, NODE_SERVING, PROXY};
use crate::plan::{Action, Plan, Write};
use crate::rules::deletion::Deletion;
use crate::value::{items, text};
use crate::view::Meta;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// What is signed is good for at most this long.
const LONGEST: i64 = 365 * DAY;

/// What the controller reads of a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RequestView {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: Spec,
    /// What became of it.
    pub status: Status,
}

/// `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Base64 of the request in PEM.
    pub request: String,
    /// Who signs.
    pub signer_name: String,
    /// For how long it is wished.
    pub expiration_seconds: Option<i64>,
    /// For what the certificate is good.
    pub usages: Vec<String>,
    /// Who asks.
    pub username: String,
    /// Its UID.
    pub uid: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// What else is known of it.
    pub extra: Value,
}

/// `status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// What was decided.
    pub conditions: Vec<Condition>,
    /// Base64 of the chain in PEM.
    pub certificate: String,
}

/// A condition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was told last.
    pub last_update_time: Option<String>,
}

/// What a turn is about.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Nothing, or to look again then.
    Wait(Option<Timestamp>),
    /// It is too old.
    Remove,
    /// To approve, if its author may create this subresource of requests.
    Ask {
        /// `nodeclient`, `selfnodeclient`.
        subresource: &'static str,
        /// Of the condition.
        message: &'static str,
    },
    /// To approve.
    Approve(&'static str),
    /// To sign, for so many seconds.
    Sign(i64),
    /// What the signer refuses.
    Refuse(String),
}

/// What to do now; `node` is the Node that its author is, if there is one.
#[must_use]
pub fn next(now: Timestamp, csr: &RequestView, node: Option<&Value>) -> Next {
    let ends = ends_at(csr);
    if ends.is_some_and(|at| at <= now) {
        return Next::Remove;
    }
    let wait = Next::Wait(ends);
    if csr.metadata.deleting() || csr.has(DENIED) || csr.has(FAILED) || !csr.status.certificate.is_empty() {
        return wait;
    }
    // It was read when it was made.
    let Ok(request) = Request::of(&csr.spec.request) else { return wait };
    if !csr.has(APPROVED) {
        return approval(csr, &request, node).unwrap_or(wait);
    }
    match fault(&csr.spec, &request) {
        None => wait,
        Some(Ok(())) => Next::Sign(csr.spec.expiration_seconds.unwrap_or(LONGEST).min(LONGEST)),
        Some(Err(why)) => Next::Refuse(why),
    }
}

impl RequestView {
    fn has(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|c| c.kind == kind)
    }
}

/// When it is removed.
fn ends_at(csr: &RequestView) -> Option<Timestamp> {
    let since = |time: &Option<String>, seconds: i64| {
        let time = Timestamp::parse(time.as_deref()?).ok()?;
        Some(Timestamp { seconds: time.seconds + seconds, ..time })
    };
    let decided =
        csr.status.conditions.iter().find(|c| [APPROVED, DENIED, FAILED].contains(&c.kind.as_str()));
    match decided {
        None => since(&csr.metadata.creation_timestamp, DAY),
        Some(c) if c.kind == APPROVED && csr.status.certificate.is_empty() => since(&c.last_update_time, DAY),
        Some(c) => since(&c.last_update_time, HOUR),
    }
}

/// Whether a request is one that is approved without a person.
fn approval(csr: &RequestView, request: &Request, node: Option<&Value>) -> Option<Next> {
    let itself = csr.spec.username == request.common_name;
    match csr.spec.signer_name.as_str() {
        NODE_CLIENT => {
            fault(&csr.spec, request)?.ok()?;
            Some(match itself {
                true => Next::Ask {
                    subresource: "selfnodeclient",
                    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
                },
                false => Next::Ask {
                    subresource: "nodeclient",
                    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
                },
            })
        }
        NODE_SERVING => {
            fault(&csr.spec, request)?.ok()?;
            let own = itself && node.is_some_and(|node| names_are_of(request, node));
            own.then_some(Next::Approve(
                "Auto approving kubelet serving certificate for its node's own addresses.",
            ))
        }
        NODE_PROXY => {
            fault(&csr.spec, request)?.ok()?;
            let groups = &csr.spec.groups;
            let of_node =
                csr.spec.username.starts_with("system:node:") && groups.iter().any(|g| g == "system:nodes");
            of_node.then_some(Next::Approve("Auto approving certificate of a node's part of Services."))
        }
        _ => None,
    }
}

fn names_are_of(request: &Request, node: &Value) -> bool {
    let addresses = items(&node["status"]["addresses"]);
    let has = |name: &str| addresses.iter().any(|a| text(&a["address"]) == name);
    let is_address = |ip: &IpAddr| addresses.iter().any(|a| text(&a["address"]).parse() == Ok(*ip));
    let name = text(&node["metadata"]["name"]);
    request.dns.iter().all(|dns| dns == name || has(dns)) && request.ips.iter().all(is_address)
}

/// What one of the built-in signers has against it (`pkg/apis/certificates/helpers.go`); none for others' signers.
fn fault(spec: &Spec, request: &Request) -> Option<Result<(), String>> {
    let names = request.dns.len() + request.ips.len();
    let only = |auth: &str| {
        let known = ["digital signature", "key encipherment", auth];
        spec.usages.iter().all(|usage| known.contains(&usage.as_str()))
            && spec.usages.iter().any(|u| u == auth)
    };
    let signs = spec.usages.iter().any(|usage| usage == "digital signature");
    let checks: &[(bool, &str)] = match spec.signer_name.as_str() {
        CLIENT => &[(only("client auth"), "usages did not match allowed usages for kube-apiserver-client")],
        NODE_CLIENT => &[
            (request.organizations == ["system:nodes"], "subject organization is not system:nodes"),
            (request.dns.is_empty(), "DNS subjectAltNames are not allowed"),
            (request.ips.is_empty(), "IP subjectAltNames are not allowed"),
            (!request.other_names, "URI and Email subjectAltNames are not allowed"),
            (request.is_of_a_node(), "subject common name does not begin with system:node:"),
            (only("client auth") && signs, "usages did not match"),
        ],
        NODE_SERVING => &[
            (request.organizations == ["system:nodes"], "subject organization is not system:nodes"),
            (request.is_of_a_node(), "subject common name does not begin with system:node:"),
            (names > 0, "DNS or IP subjectAltName is required"),
            (!request.other_names, "URI and Email subjectAltNames are not allowed"),
            (only("server auth") && signs, "usages did not match"),
        ],
        NODE_PROXY => &[
            (request.common_name == PROXY, "subject common name is not system:kube-proxy"),
            (request.organizations.is_empty(), "subject organizations are not allowed"),
            (names == 0 && !request.other_names, "subjectAltNames are not allowed"),
            (only("client auth"), "usages did not match"),
        ],
        _ => return None,
    };
    Some(checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err((*why).to_owned())))
}

/// The request with a condition more, through a subresource.
#[must_use]
pub fn concluded(now: Timestamp, mut object: Value, kind: &str, reason: &str, message: &str) -> Plan {
    let time = now.rfc3339();
    let condition = json!({"type": kind, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": time, "lastTransitionTime": time});
    match object["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => object["status"]["conditions"] = json!([condition]),
    }
    write(object, if kind == APPROVED { "approval" } else { "status" })
}

/// The request with what was signed.
#[must_use]
pub fn signed(mut object: Value, certificate: &str) -> Plan {
    object["status"]["certificate"] = certificate.into();
    write(object, "status")
}

fn write(object: Value, subresource: &'static str) -> Plan {
    let name = text(&object["metadata"]["name"]).to_owned();
    let mut plan = Plan::default();
    plan.stage(vec![Write::new(&KIND, "", &name, Action::Update(object)).through(subresource)]);
    plan
}

/// The end of a request that is too old.
#[must_use]
pub fn removed(csr: &RequestView) -> Plan {
    let mut plan = Plan::default();
    let options = Deletion::of(&csr.metadata.uid).body();
    plan.stage(vec![Write::new(&KIND, "", &csr.metadata.name, Action::Delete(options))]);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Request {
        Request {
            common_name: format!("system:node:{name}"),
            organizations: vec!["system:nodes".to_owned()],
            ..Request::default()
        }
    }

    fn spec(signer: &str, usages: &[&str]) -> Spec {
        let usages = usages.iter().map(|u| (*u).to_owned()).collect();
        Spec {
            signer_name: signer.to_owned(),
            usages,
            username: "system:node:n1".to_owned(),
            ..Spec::default()
        }
    }

    #[test]
    fn signers_refuse() {
        let (client, server) = (["digital signature", "client auth"], ["digital signature", "server auth"]);
        let named = Request { dns: vec!["n1".to_owned()], ..node("n1") };
        let person = Request { common_name: "jane".to_owned(), ..Request::default() };
        let proxy = Request { common_name: PROXY.to_owned(), ..Request::default() };
        for (signer, usages, request, want) in [
            (CLIENT, &client, &person, Some(Ok(()))),
            (NODE_PROXY, &client, &proxy, Some(Ok(()))),
            (NODE_PROXY, &client, &person, Some(Err("subject common name is not system:kube-proxy"))),
            (
                CLIENT,
                &server,
                &person,
                Some(Err("usages did not match allowed usages for kube-apiserver-client")),
            ),
            (NODE_CLIENT, &client, &node("n1"), Some(Ok(()))),
            (NODE_CLIENT, &client, &person, Some(Err("subject organization is not system:nodes"))),
            (NODE_CLIENT, &client, &named, Some(Err("DNS subjectAltNames are not allowed"))),
            (NODE_CLIENT, &server, &node("n1"), Some(Err("usages did not match"))),
            (NODE_SERVING, &server, &named, Some(Ok(()))),
            (NODE_SERVING, &server, &node("n1"), Some(Err("DNS or IP subjectAltName is required"))),
            ("example.com/s", &client, &person, None),
        ] {
            let said = fault(&spec(signer, usages), request);
            assert_eq!(said, want.map(|r| r.map_err(str::to_owned)), "{signer} {usages:?}");
        }
    }

    #[test]
    fn nodes_are_approved() {
        let csr = |signer: &str, usages: &[&str], username: &str| {
            let groups = vec!["system:nodes".to_owned()];
            let spec = Spec { username: username.to_owned(), groups, ..spec(signer, usages) };
            RequestView { spec, ..RequestView::default() }
        };
        let (client, server) = (["digital signature", "client auth"], ["digital signature", "server auth"]);
        let object = json!({"metadata": {"name": "n1"}, "status": {"addresses": [{"address": "192.0.2.1"}]}});
        let serving = |ip: &str| Request { ips: vec![ip.parse().unwrap()], ..node("n1") };
        let proxy = Request { common_name: PROXY.to_owned(), ..Request::default() };
        let ask = |asked: Option<Next>| match asked {
            Some(Next::Ask { subresource, .. }) => subresource,
            Some(Next::Approve(_)) => "approve",
            _ => "",
        };
        for (csr, request, want) in [
            (csr(NODE_CLIENT, &client, "system:bootstrap:abcdef"), node("n1"), "nodeclient"),
            (csr(NODE_CLIENT, &client, "system:node:n1"), node("n1"), "selfnodeclient"),
            (csr(NODE_CLIENT, &server, "system:node:n1"), node("n1"), ""),
            (csr(NODE_SERVING, &server, "system:node:n1"), serving("192.0.2.1"), "approve"),
            (csr(NODE_SERVING, &server, "system:node:n1"), serving("192.0.2.2"), ""),
            (csr(NODE_SERVING, &server, "system:node:n2"), serving("192.0.2.1"), ""),
            (csr(CLIENT, &client, "system:node:n1"), node("n1"), ""),
            (csr(NODE_PROXY, &client, "system:node:n1"), proxy.clone(), "approve"),
            (csr(NODE_PROXY, &client, "jane"), proxy, ""),
        ] {
            assert_eq!(ask(approval(&csr, &request, Some(&object))), want, "{csr:?}");
        }
    }

    #[test]
    fn old_ones_go() {
        let at = |seconds| Timestamp { seconds, ..Timestamp::default() };
        let csr = |conditions: &[&str], certificate: &str| {
            let made = Some("1970-01-01T00:00:00Z".to_owned());
            let told = |kind: &&str| Condition { kind: (*kind).to_owned(), last_update_time: made.clone() };
            RequestView {
                metadata: Meta { creation_timestamp: made.clone(), ..Meta::default() },
                status: Status {
                    conditions: conditions.iter().map(told).collect(),
                    certificate: certificate.to_owned(),
                },
                ..RequestView::default()
            }
        };
        for (csr, end) in [
            (csr(&[], ""), DAY),
            (csr(&[APPROVED], ""), DAY),
            (csr(&[APPROVED], "x"), HOUR),
            (csr(&[DENIED], ""), HOUR),
            (csr(&[FAILED], ""), HOUR),
        ] {
            assert_eq!(next(at(end - 1), &csr, None), Next::Wait(Some(at(end))), "{csr:?}");
            assert_eq!(next(at(end), &csr, None), Next::Remove, "{csr:?}");
        }
    }

    #[test]
    fn conclusions() {
        let object = json!({"metadata": {"name": "c"}, "status": {}});
        let plan = concluded(Timestamp::default(), object.clone(), APPROVED, "AutoApproved", "m");
        let [write] = &plan.stages[0][..] else { panic!("{plan:?}") };
        let Action::Update(body) = &write.action else { panic!("{write:?}") };
        assert_eq!(
            (write.subresource, &body["status"]["conditions"][0]["type"]),
            ("approval", &json!("Approved"))
        );
        let plan = signed(object, "Zm9v");
        assert_eq!(plan.stages[0][0].subresource, "status");
    }
}
