//! Puts right what a crash left: addresses of Services that are gone, Services whose addresses have no object.
//!
//! Invariant: an address younger than a minute is left alone while the server runs: its Service may be on its way.

use std::collections::HashMap;

use base::Timestamp;
use kinds::ipaddress::{KIND as ADDRESSES, service_of};
use kinds::service::KIND as SERVICES;
use kinds::service::allocation::addresses;
use serde_json::Value;
use store::StoreError;

use super::{Allocator, Owner};
use crate::context::object;

/// What is done about addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    /// Address, namespace and name of Services whose address has no object.
    pub(super) missing: Vec<[String; 3]>,
    /// The same of addresses that their Service has not.
    pub(super) stray: Vec<[String; 3]>,
}

/// Compares Services with addresses; `settled` says of a time whether what was made then is no more on its way.
pub(super) fn compare(services: &[Value], taken: &[Value], settled: impl Fn(&str) -> bool) -> Repairs {
    let text = |obj: &Value, field: &str| object::meta(obj, field).to_owned();
    let mut held: HashMap<String, [String; 2]> = HashMap::new();
    for service in services {
        let owner = [text(service, "namespace"), text(service, "name")];
        held.extend(addresses(&service["spec"]).map(|ip| (ip.to_owned(), owner.clone())));
    }
    let mut repairs = Repairs::default();
    let mut known: HashMap<&str, Option<(&str, &str)>> = HashMap::new();
    for address in taken {
        let (ip, owner) = (object::meta(address, "name"), service_of(address));
        known.insert(ip, owner);
        let Some((namespace, name)) = owner else { continue };
        let is_held = held.get(ip).is_some_and(|[n, s]| (n.as_str(), s.as_str()) == (namespace, name));
        if !is_held && settled(object::meta(address, "creationTimestamp")) {
            repairs.stray.push([ip.to_owned(), namespace.to_owned(), name.to_owned()]);
        }
    }
    for (ip, [namespace, name]) in held {
        if !known.contains_key(ip.as_str()) {
            repairs.missing.push([ip, namespace, name]);
        }
    }
    repairs.missing.sort();
    repairs
}

/// Makes the object of an address again that was deleted while its Service has it.
pub(crate) async fn returned(allocator: &Allocator, address: &Value) {
    let Some((namespace, name)) = service_of(address) else { return };
    let ip = object::meta(address, "name");
    let service = allocator.store.get(&object::key(&SERVICES, namespace, name));
    let service = service.map(|entry| object::parse(&SERVICES, &entry.value)).unwrap_or_default();
    if !addresses(&service["spec"]).any(|held| held == ip) {
        return;
    }
    tracing::warn!(address = ip, namespace, name, "the address of a Service is not allocated; repairing");
    let owner = Owner { namespace: namespace.to_owned(), name: name.to_owned() };
    match allocator.create(ip, &owner).await {
        Ok(()) | Err(StoreError::Conflict { .. }) => {}
        Err(error) => tracing::warn!(%error, ip, "an address has no object"),
    }
}

/// Does it. Before the server serves, nothing is on its way.
pub(crate) async fn run(allocator: &Allocator, serving: bool) {
    const YOUNG: i64 = 60;
    let (_, sets) = allocator.store.read(&[&SERVICES.bucket, &ADDRESSES.bucket]);
    let [services, taken] = [(0, &*SERVICES), (1, &*ADDRESSES)].map(|(i, kind)| {
        let entries = sets.get(i).into_iter().flat_map(|set| set.prefix(""));
        entries.map(|entry| object::parse(kind, &entry.value)).collect::<Vec<_>>()
    });
    let now = allocator.nature.now().seconds;
    let settled = |made: &str| !serving || Timestamp::parse(made).is_ok_and(|at| at.seconds + YOUNG < now);
    let Repairs { missing, stray } = compare(&services, &taken, settled);
    for [address, namespace, name] in stray {
        tracing::info!(address, namespace, name, "an address without its Service is free again");
        allocator.release(&address, &Owner { namespace, name }).await;
    }
    for [address, namespace, name] in missing {
        tracing::info!(address, namespace, name, "the address of a Service gets its object");
        match allocator.create(&address, &Owner { namespace, name }).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => tracing::warn!(%error, address, "an address has no object"),
        }
    }
}
