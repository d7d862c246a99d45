//! Which address families a Service has, and what its addresses must be for them.
//!
//! Invariant: [`settle`] runs on an object that is not validated yet, and leaves families and policy as they are stored;
//! it never removes an address but the second one of a Service that becomes single-stack. Absent: giving addresses out.

use schema::addresses::is_ipv6;
use schema::validation::{At, Run, here};
use serde_json::{Value, json};

use super::{Needs, change, is_headless};
use crate::field::{ErrorList, Path};
use crate::names;
use crate::service::NO_ADDRESS;
use crate::value::{is_empty, is_set, items, same, size, text};

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";
/// The policies, as errors list them.
const POLICIES: &[&str] = &[PREFER, REQUIRE, SINGLE];
/// Most addresses: one for each family.
const MOST: usize = 2;

/// The families, as errors list them.
pub const FAMILIES: &[&str] = &["IPv4", "IPv6"];

/// The family of an address.
#[must_use]
pub fn family(address: &str) -> &'static str {
    FAMILIES[usize::from(is_ipv6(address))]
}

fn other(family: &str) -> &'static str {
    FAMILIES[usize::from(family == FAMILIES[0])]
}

schema::rules! {
    /// What addresses, families and policy must be to each other.
    pub(super) RELATED: "io.k8s.api.core.v1.ServiceSpec" = [here().with(related)];
}

/// Takes over what was given out before and settles families and policy, for a cluster with these families, the default
/// one first.
///
/// # Errors
/// What is wrong with them; nothing else is looked at.
pub fn settle(new: &mut Value, old: Option<&Value>, cluster: &[&'static str]) -> Result<(), ErrorList> {
    if let Some(old) = old {
        change::take_over(new, old);
    }
    change::align_addresses(new, old);
    if Needs(new).is_external_name() || old.is_some_and(|old| stays_preferring(new, old)) {
        return Ok(());
    }
    if !is_set(&new["ipFamilyPolicy"]) {
        new["ipFamilyPolicy"] = policy(new, old);
    }
    checked(RELATED.validate_at(Path::new("spec"), new, None))?;
    let mut errors = ErrorList::default();
    reduce(new, old, &mut errors);
    infer(new, cluster, &mut errors);
    checked(errors)?;
    if has_no_address(new) && is_empty(&new["selector"]) {
        complete(new, cluster, FAMILIES.len());
        return Ok(());
    }
    checked(unconfigured(new, cluster))?;
    complete(new, cluster, cluster.len());
    Ok(())
}

fn checked(errors: ErrorList) -> Result<(), ErrorList> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn has_no_address(spec: &Value) -> bool {
    text(&spec["clusterIP"]) == NO_ADDRESS
}

/// A Service that prefers two families and is not changed in this keeps what it has, however the cluster changed.
fn stays_preferring(new: &Value, old: &Value) -> bool {
    let kept = ["type", "ipFamilyPolicy", "clusterIPs", "ipFamilies"];
    text(&new["ipFamilyPolicy"]) == PREFER && kept.iter().all(|field| same(&new[*field], &old[*field]))
}

/// The policy of a Service that names none.
fn policy(new: &Value, old: Option<&Value>) -> Value {
    match old.map(|old| &old["ipFamilyPolicy"]) {
        Some(before) if is_set(before) => before.clone(),
        _ if has_no_address(new) && is_empty(&new["selector"]) => REQUIRE.into(),
        _ => SINGLE.into(),
    }
}

/// Whether there may be fewer or more than one.
fn reduce(new: &mut Value, old: Option<&Value>, errors: &mut ErrorList) {
    let fields = [("clusterIPs", "secondary cluster IP"), ("ipFamilies", "secondary IP family")];
    let (path, single) = (Path::new("spec.ipFamilyPolicy"), text(&new["ipFamilyPolicy"]) == SINGLE);
    for (field, what) in fields.into_iter().filter(|_| old.is_some()) {
        let before = old.map_or(&Value::Null, |old| &old[field]);
        if single && same(before, &new[field]) {
            if let Some(list) = new[field].as_array_mut() {
                list.truncate(1);
            }
        } else if !single && size(&new[field]) > 0 && size(&new[field]) < size(before) {
            let detail = format!("must be 'SingleStack' to release the {what}");
            errors.invalid(&path, new["ipFamilyPolicy"].clone(), detail);
        }
    }
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if single && size(&new[field]) == MOST {
            let detail =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.invalid(&path, new["ipFamilyPolicy"].clone(), detail);
        }
    }
}

/// Families of the addresses that are asked for, where they are not said.
fn infer(new: &mut Value, cluster: &[&str], errors: &mut ErrorList) {
    let addresses = new["clusterIPs"].clone();
    for (i, address) in items(&addresses).iter().map(text).enumerate().take_while(|(_, a)| *a != NO_ADDRESS) {
        if i < size(&new["ipFamilies"]) {
            continue;
        }
        let family = family(address);
        if cluster.contains(&family) {
            push_family(new, family);
        } else {
            let path = Path::new("spec.clusterIPs");
            let detail = format!("{family} is not configured on this cluster");
            errors.invalid(&path.index(i), addresses.clone(), detail);
        }
    }
}

fn push_family(spec: &mut Value, family: &str) {
    match spec["ipFamilies"].as_array_mut() {
        Some(list) => list.push(family.into()),
        None => spec["ipFamilies"] = json!([family]),
    }
}

/// What the cluster has not.
fn unconfigured(new: &Value, cluster: &[&str]) -> ErrorList {
    let mut errors = ErrorList::default();
    if text(&new["ipFamilyPolicy"]) == REQUIRE && cluster.len() < MOST {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid(&Path::new("spec.ipFamilyPolicy"), REQUIRE, why);
    }
    for (i, family) in items(&new["ipFamilies"]).iter().map(text).enumerate() {
        if !cluster.contains(&family) {
            let path = Path::new("spec.ipFamilies");
            errors.invalid(&path.index(i), family, "not configured on this cluster");
        }
    }
    errors
}

/// The cluster's first family if there is none, and the other one where the policy and `available` allow it.
fn complete(new: &mut Value, cluster: &[&'static str], available: usize) {
    if items(&new["ipFamilies"]).is_empty() {
        push_family(new, cluster.first().copied().unwrap_or(FAMILIES[0]));
    }
    if let [one] = items(&new["ipFamilies"])
        && text(&new["ipFamilyPolicy"]) != SINGLE
        && available == MOST
    {
        let other = other(text(one));
        push_family(new, other);
    }
}

/// `ValidateServiceClusterIPsRelatedFields`.
fn related<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if Needs(at.value()).is_external_name() {
        return;
    }
    let (addresses, families) = (at.child("clusterIPs"), at.child("ipFamilies"));
    first_address(at, &addresses, run);
    for (i, family) in families.items().enumerate() {
        if !FAMILIES.contains(&family.text()) {
            run.not_supported(&family, family.text(), FAMILIES);
        }
        if items(families.value())[..i].contains(family.value()) {
            run.duplicate(&family, family.text());
        }
    }
    let policy = at.child("ipFamilyPolicy");
    if policy.is_set() && !POLICIES.contains(&policy.text()) {
        run.not_supported(&policy, policy.text(), POLICIES);
    }
    if !well_formed(&addresses, run) {
        return;
    }
    let list = items(addresses.value());
    let kinds = |six: bool| list.iter().any(|a| is_ipv6(text(a)) == six);
    if list.len() > 1 && !(kinds(false) && kinds(true)) {
        let detail = "may specify no more than one IP for each IP family";
        run.invalid(&addresses, addresses.value().clone(), detail);
    }
    if !is_headless(at.value()) {
        for (i, (address, wanted)) in addresses.items().zip(items(families.value())).enumerate() {
            let wanted = text(wanted);
            if FAMILIES.contains(&wanted) && family(address.text()) != wanted {
                let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
                run.invalid(&address, address.text(), detail);
            }
        }
    }
}

/// The one address and the first of the list.
fn first_address<'v>(at: &At<'v, '_>, addresses: &At<'v, '_>, run: &mut Run<'v>) {
    let one = at.text_of("clusterIP");
    match items(addresses.value()).first().map(text) {
        None if !one.is_empty() => run.required(addresses, ""),
        Some(_) if one.is_empty() => {
            let detail = "must be empty when `clusterIP` is not specified";
            run.invalid(addresses, addresses.value().clone(), detail);
        }
        Some(first) if first != one => {
            run.invalid(addresses, addresses.value().clone(), "first value must match `clusterIP`");
        }
        _ => {}
    }
}

/// Whether each is an address or the one word for none; if not, nothing more can be said of them.
fn well_formed<'v>(addresses: &At<'v, '_>, run: &mut Run<'v>) -> bool {
    let mut good = true;
    for (i, address) in addresses.items().enumerate() {
        if i == 0 && address.text() == NO_ADDRESS {
            if addresses.size() > 1 {
                good = false;
                let detail = "'None' must be the first and only value";
                run.invalid(addresses, addresses.value().clone(), detail);
            }
            continue;
        }
        let complaints = names::ip(address.text());
        good &= complaints.is_empty();
        names::check(run, &address, address.text(), complaints);
    }
    if addresses.size() > MOST {
        run.invalid(addresses, addresses.value().clone(), "may only hold up to 2 values");
    }
    good
}
