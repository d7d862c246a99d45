//! The API server's own Service: `kubernetes` in `default`, where it leads, and the range that Services' addresses are
//! taken from.
//!
//! Invariant: what is missing comes back at once; of what is there only where it leads is kept right, all else is left as
//! people have it.

use std::sync::Arc;
use std::time::Duration;

use client::{Call, Gvr, Identity, Objects, Options, Status, Target, Verb};
use kinds::{Kind, endpoints, endpointslice, service, servicecidr};
use serde_json::{Value, json};
use store::{Interest, Scope};

use super::server::Server;
use crate::context::allocation::{ServiceNetwork, repair};
use crate::context::object;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
/// How often addresses are compared with Services.
const EVERY: Duration = Duration::from_secs(600);
/// When what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// An object, and the fields of it that are kept right.
struct Own {
    kind: &'static Kind,
    object: Value,
    fields: &'static [&'static str],
}

/// The objects of the Service.
fn own(network: &ServiceNetwork) -> Vec<Own> {
    let meta = |labels: Value| json!({"name": NAME, "namespace": NAMESPACE, "labels": labels});
    let port = network.endpoint.map_or(443, |at| at.port());
    let address = network.own_address().map(|ip| ip.to_string());
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let ip = network.endpoint.map(|at| at.ip());
    let subsets = ip.map(|ip| json!([{"addresses": [{"ip": ip}], "ports": ports}]));
    let endpoints = ip.map(|ip| json!([{"addresses": [ip], "conditions": {"ready": true}}]));
    let family = if ip.is_some_and(|ip| ip.is_ipv6()) { "IPv6" } else { "IPv4" };
    vec![
        Own {
            kind: &service::KIND,
            object: json!({
                "metadata": meta(json!({"component": "apiserver", "provider": NAME})),
                "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": address.as_ref().map(|ip| [ip]),
                    "sessionAffinity": "None",
                    "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]},
            }),
            fields: &["/spec/ports"],
        },
        Own {
            kind: &endpoints::KIND,
            object: json!({"metadata": meta(json!({endpoints::SKIP_MIRROR: "true"})), "subsets": subsets}),
            fields: &["/subsets"],
        },
        Own {
            kind: &endpointslice::KIND,
            object: json!({"metadata": meta(json!({endpointslice::SERVICE_NAME: NAME})), "addressType": family,
                "endpoints": endpoints, "ports": ports}),
            fields: &["/endpoints", "/ports"],
        },
    ]
}

/// Makes the range, then what is missing, at the first moment of the server.
pub(crate) async fn begin(server: &Arc<Server>, api: &dyn Objects) -> Result<(), Status> {
    let allocator = &server.services().allocator;
    range(server, api).await?;
    repair::run(allocator, false).await;
    for status in ensure(server, api).await {
        tracing::error!(%status.message, "the Service of the API server is not as it should be");
    }
    Ok(())
}

/// Keeps it until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut closing = server.closing();
    let api = objects(&server);
    loop {
        let revision = server.store().revision();
        let watcher = server.store().watch(&interests(server.services().allocator.network()), revision);
        let mut failures = ensure(&server, &*api).await;
        failures.extend(range(&server, &*api).await.err());
        // The address of one that was just deleted may not be free yet.
        let pause = if failures.is_empty() { EVERY } else { AGAIN };
        for status in failures {
            tracing::warn!(%status.message, "the Service of the API server is not as it should be");
        }
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::error!(%error, "the Service of the API server is not followed");
                return;
            }
        };
        let stop = async { drop(closing.wait_for(|closing| *closing).await) };
        tokio::select! {
            () = stop => return,
            _ = watcher.next() => {}
            () = tokio::time::sleep(pause) => repair::run(&server.services().allocator, true).await,
        }
    }
}

fn interests(network: &ServiceNetwork) -> Vec<Interest> {
    let of = |kind: &Kind, namespace: &str| Interest {
        bucket: kind.bucket.to_string(),
        scope: Scope::Key(object::key(kind, namespace, NAME).to_string()),
    };
    let range = of(&servicecidr::KIND, "");
    own(network).iter().map(|own| of(own.kind, NAMESPACE)).chain([range]).collect()
}

/// The API as the server itself.
pub(crate) fn objects(server: &Arc<Server>) -> Arc<dyn Objects> {
    let groups = vec!["system:masters".into()];
    let identity = Identity { name: "system:apiserver".into(), groups, ..Identity::default() };
    server.objects(identity, "kube-apiserver")
}

/// Makes what is missing and puts right what leads elsewhere; what could not be done comes back.
async fn ensure(server: &Arc<Server>, api: &dyn Objects) -> Vec<Status> {
    let steps = own(server.services().allocator.network()).into_iter().map(|own| async move {
        let stored = server.store().get(&object::key(own.kind, NAMESPACE, NAME));
        let verb = match stored.map(|entry| object::parse(own.kind, &entry.value)) {
            None => Verb::Create(own.object),
            Some(stored) => Verb::Update(corrected(stored, &own)?),
        };
        let target = target(own.kind, NAMESPACE, if matches!(verb, Verb::Create(_)) { "" } else { NAME });
        let done = api.call(Call { target, verb, options: Options::default() }).await;
        done.err().filter(|status| !status.is("AlreadyExists"))
    });
    futures_util::future::join_all(steps).await.into_iter().flatten().collect()
}

/// The stored object with the fields as they should be, if one is not.
fn corrected(stored: Value, own: &Own) -> Option<Value> {
    let mut new = stored.clone();
    for field in own.fields {
        let wanted = own.object.pointer(field).cloned().unwrap_or_default();
        let (before, name) = field.rsplit_once('/')?;
        new.pointer_mut(before)?[name] = wanted;
    }
    let same = |field: &&str| alike(stored.pointer(field), new.pointer(field));
    if own.fields.iter().all(same) { None } else { Some(new) }
}

/// Whether two values say the same, where nothing and an empty list are one.
fn alike(a: Option<&Value>, b: Option<&Value>) -> bool {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    list(a) == list(b)
}

fn target(kind: &Kind, namespace: &str, name: &str) -> Target {
    let gvr = Gvr::new(&kind.group, &kind.version, &kind.plural);
    Target { gvr, namespace: namespace.into(), name: name.into(), subresource: String::new() }
}

/// The range that the configuration names, and that it is ready.
async fn range(server: &Arc<Server>, api: &dyn Objects) -> Result<(), Status> {
    let kind = &*servicecidr::KIND;
    let ranges: Vec<String> =
        server.services().allocator.network().ranges.iter().map(ToString::to_string).collect();
    let stored = server.store().get(&object::key(kind, "", servicecidr::DEFAULT));
    let call = |name: &str, subresource: &str, verb: Verb| {
        let target = Target { subresource: subresource.into(), ..target(kind, "", name) };
        api.call(Call { target, verb, options: Options::default() })
    };
    let leaving = |range: &Value| !object::meta(range, "deletionTimestamp").is_empty();
    let mut range = match stored.map(|entry| object::parse(kind, &entry.value)) {
        Some(mut stored) => {
            if stored["spec"]["cidrs"] != json!(ranges) {
                stored["spec"]["cidrs"] = json!(ranges);
                stored = call(NAME, "", Verb::Update(stored)).await?.value()?;
            }
            stored
        }
        None => {
            let new = json!({"metadata": {"name": servicecidr::DEFAULT}, "spec": {"cidrs": ranges}});
            call("", "", Verb::Create(new)).await?.value()?
        }
    };
    if servicecidr::in_use(&range).is_empty() && !leaving(&range) {
        range["status"] = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "",
            "message": "Kubernetes default Service CIDR is ready", "lastTransitionTime": server.services().now().rfc3339()}]});
        call(NAME, "status", Verb::Update(range)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn what_leads_elsewhere_is_put_right_and_nothing_else() {
        let network =
            ServiceNetwork { endpoint: Some(SocketAddr::from(([10, 64, 0, 1], 6443))), ..Default::default() };
        for own in own(&network) {
            let mut stored = own.object.clone();
            stored["metadata"]["labels"]["mine"] = json!("x");
            assert_eq!(corrected(stored.clone(), &own), None, "{stored}");
            for field in own.fields {
                *stored.pointer_mut(field).unwrap() = json!([]);
            }
            let right = corrected(stored, &own).expect("it leads nowhere");
            assert_eq!(right["metadata"]["labels"]["mine"], "x");
            assert!(own.fields.iter().all(|field| right.pointer(field) == own.object.pointer(field)));
        }
    }

    #[test]
    fn without_an_endpoint_there_are_none() {
        let all = own(&ServiceNetwork::default());
        assert_eq!(all[0].object["spec"]["clusterIP"], "10.96.0.1");
        assert!(all[1].object["subsets"].is_null() && all[2].object["endpoints"].is_null());
    }
}
