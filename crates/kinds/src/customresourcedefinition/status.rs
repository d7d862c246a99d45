//! Whether a definition's names are free, whether it is served, and how far its end has come
//! (`apiextensions-apiserver/pkg/controller/{status,establish,finalizer}`).

use serde_json::{Value, json};

use super::storage_version;
use crate::catalogue::Catalogue;
use crate::value::{child, items, text};

/// Whether the names are accepted and objects can be made.
#[must_use]
pub fn is_established(obj: &Value) -> bool {
    holds(obj, "Established", "True")
}

/// Whether its end has come and its objects are gone.
pub(super) fn is_emptied(obj: &Value) -> bool {
    holds(obj, "Terminating", "False")
}

fn holds(obj: &Value, kind: &str, state: &str) -> bool {
    items(&obj["status"]["conditions"])
        .iter()
        .any(|c| text(&c["type"]) == kind && text(&c["status"]) == state)
}

/// Notes the version that objects are stored in from now on.
pub(super) fn store_version(obj: &mut Value) {
    let version = storage_version(obj).to_owned();
    let stored = &mut child(obj, "status")["storedVersions"];
    if !stored.is_array() {
        *stored = json!([]);
    }
    if let Some(all) = stored.as_array_mut()
        && !version.is_empty()
        && !all.iter().any(|v| text(v) == version)
    {
        all.push(version.into());
    }
}

/// Marks a definition whose deletion begins.
pub(super) fn terminating(obj: &mut Value) {
    let now = text(&obj["metadata"]["deletionTimestamp"]).to_owned();
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set(obj, "Terminating", "True", ["InstanceDeletionPending", message], &now);
}

/// The definition as it is once its objects are gone.
#[must_use]
pub fn complete(obj: &Value, now: &str) -> Value {
    let mut obj = obj.clone();
    set(&mut obj, "Terminating", "False", ["InstanceDeletionCompleted", "removed all instances"], now);
    obj
}

/// The definition with the status that it should have beside what is served by others; `None` if it has it.
#[must_use]
pub fn establish(obj: &Value, others: &Catalogue, now: &str) -> Option<Value> {
    let mut new = obj.clone();
    match conflict(obj, others) {
        None => {
            child(&mut new, "status")["acceptedNames"] = obj["spec"]["names"].clone();
            set(&mut new, "NamesAccepted", "True", ["NoConflicts", "no conflicts found"], now);
            let why = ["InitialNamesAccepted", "the initial names have been accepted"];
            set(&mut new, "Established", "True", why, now);
        }
        Some((reason, message)) => {
            set(&mut new, "NamesAccepted", "False", [reason, &message], now);
            if !is_established(obj) {
                set(&mut new, "Established", "False", ["NotAccepted", "not all names are accepted"], now);
            }
        }
    }
    (new["status"] != obj["status"]).then_some(new)
}

/// The first of the names that another kind of the group has.
fn conflict(obj: &Value, others: &Catalogue) -> Option<(&'static str, String)> {
    let (group, names) = (text(&obj["spec"]["group"]), &obj["spec"]["names"]);
    let taken = |name: &str| {
        !name.is_empty()
            && others.iter().filter(|k| k.group == group).any(|k| {
                k.plural == name || k.singular == name || k.short_names.iter().any(|short| short == name)
            })
    };
    let kind = text(&names["kind"]);
    let of_kind = |kind: &str| others.by_group_kind(group, kind).is_some();
    let short = items(&names["shortNames"]).iter().map(text).find(|name| taken(name));
    let (reason, name) = match () {
        () if taken(text(&names["plural"])) => ("PluralConflict", text(&names["plural"])),
        () if taken(text(&names["singular"])) => ("SingularConflict", text(&names["singular"])),
        () if short.is_some() => ("ShortNamesConflict", short.unwrap_or_default()),
        () if of_kind(kind) => ("KindConflict", kind),
        () => return None,
    };
    Some((reason, format!("{name:?} is already in use")))
}

fn set(obj: &mut Value, kind: &str, state: &str, [reason, message]: [&str; 2], now: &str) {
    let conditions = &mut child(obj, "status")["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(all) = conditions.as_array_mut() else { return };
    let new = json!({"type": kind, "status": state, "reason": reason, "message": message, "lastTransitionTime": now});
    match all.iter_mut().find(|c| text(&c["type"]) == kind) {
        Some(old) if text(&old["status"]) == state => {
            old["reason"] = new["reason"].clone();
            old["message"] = new["message"].clone();
        }
        Some(old) => *old = new,
        None => all.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_once() {
        let none = Catalogue::default();
        let crd = json!({"spec": {"group": "batch", "names": {"plural": "jobs", "kind": "Job", "singular": "job"}}});
        let made = establish(&crd, &none, "t").expect("a change");
        assert!(is_established(&made) && establish(&made, &none, "u").is_none());
        let refused = establish(&crd, crate::built_in(), "t").expect("a change");
        assert!(!is_established(&refused));
        assert_eq!(refused["status"]["conditions"][0]["message"], "\"jobs\" is already in use");
    }

    #[test]
    fn the_end() {
        let mut crd = json!({"metadata": {"deletionTimestamp": "t"}, "status": {}});
        terminating(&mut crd);
        assert!(!is_emptied(&crd) && is_emptied(&complete(&crd, "u")));
    }
}
