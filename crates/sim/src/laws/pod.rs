//! A Pod is bound once, ends once and goes for good: whoever takes its name is another one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Law, Version, is_deleting, text};

/// Who has a name now.
#[derive(Debug, Default)]
struct Held {
    uid: String,
    node: String,
    leaving: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// By name.
    held: BTreeMap<String, Held>,
    /// UIDs of Pods that are gone.
    gone: BTreeSet<String>,
}

impl Law for Pods {
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        if version.bucket != "pods" {
            return;
        }
        let object = version.object;
        let (name, uid) = (text(object, "/metadata/name"), text(object, "/metadata/uid"));
        let mut broken =
            |what: &str| found.push(format!("at revision {} Pod {name} {what}", version.revision));
        if self.gone.contains(uid) {
            broken("came back with the UID that it had");
        }
        let now = Held {
            uid: uid.to_owned(),
            node: text(object, "/spec/nodeName").to_owned(),
            leaving: is_deleting(object),
        };
        match self.held.get(name) {
            Some(before) if before.uid != now.uid => broken("has another UID and never went"),
            Some(before) if !before.node.is_empty() && before.node != now.node => broken("was bound again"),
            Some(before) if before.leaving && !now.leaving => broken("stays after all"),
            _ => {}
        }
        if version.gone {
            self.held.remove(name);
            self.gone.insert(now.uid);
        } else {
            self.held.insert(name.to_owned(), now);
        }
    }

    fn rest(&self, _: &mut Vec<String>) {}
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(uid: &str, node: &str, leaving: bool) -> Value {
        let mut pod = json!({"metadata": {"name": "p", "uid": uid}, "spec": {"nodeName": node}});
        if leaving {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        pod
    }

    /// Each line is a history, `true` where the Pod is gone with a version, and what is wrong with it.
    #[test]
    fn what_breaks_it() {
        for (history, want) in [
            (
                vec![
                    (pod("1", "", false), false),
                    (pod("1", "a", false), false),
                    (pod("1", "a", true), true),
                ],
                None,
            ),
            (vec![(pod("1", "a", true), true), (pod("2", "b", false), false)], None),
            (vec![(pod("1", "a", false), false), (pod("1", "b", false), false)], Some("was bound again")),
            (vec![(pod("1", "a", false), false), (pod("1", "", false), false)], Some("was bound again")),
            (vec![(pod("1", "a", true), false), (pod("1", "a", false), false)], Some("stays after all")),
            (
                vec![(pod("1", "", false), false), (pod("2", "", false), false)],
                Some("has another UID and never went"),
            ),
            (
                vec![(pod("1", "", true), true), (pod("1", "", false), false)],
                Some("came back with the UID that it had"),
            ),
        ] {
            let (mut law, mut found) = (Pods::default(), Vec::new());
            for (revision, (object, gone)) in (1..).zip(&history) {
                law.see(&Version { bucket: "pods", revision, object, gone: *gone }, &mut found);
            }
            let want: Vec<String> = want.iter().map(|w| format!("at revision 2 Pod p {w}")).collect();
            assert_eq!(found, want, "{history:?}");
        }
    }
}
