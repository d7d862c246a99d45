//! Revisions of a workload, kept as ControllerRevisions (`pkg/controller/history`): what its template was, so that it can
//! go back.
//!
//! Invariants: a template that was there before comes back as the revision it had, with a new number; the newest number is
//! that of the present template. Which revisions are the owner's is settled by claims.

use serde::Deserialize;
use serde_json::{Value, json};

use super::claim::owner_reference;
use super::hash;
use crate::controllerrevision::KIND;
use crate::kind::Kind;
use crate::plan::{Action, Write};
use crate::rules::deletion::Deletion;
use crate::value::{remove, same};
use crate::view::Meta;

/// The label of revisions and of Pods that tells which revision they are of.
pub const REVISION_HASH: &str = "controller-revision-hash";
/// What tells a patch to take the place of the whole template.
const DIRECTIVE: &str = "$patch";

/// A stored revision.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Revision {
    /// Its metadata.
    pub metadata: Meta,
    /// Its number; higher is newer.
    pub revision: i64,
    /// What the owner was, as a patch.
    pub data: Value,
}

/// The revisions of one owner.
#[derive(Debug, Default)]
pub struct Revisions {
    /// Of the present template; there may be none yet.
    pub present: Option<Revision>,
    /// More of the same template, which are one too many.
    pub doubles: Vec<Revision>,
    /// All others, the oldest first.
    pub old: Vec<Revision>,
}

impl Revision {
    /// The template it keeps.
    #[must_use]
    pub fn template(&self) -> Value {
        let mut template = self.data["spec"]["template"].clone();
        remove(&mut template, DIRECTIVE);
        template
    }

    /// The hash by which Pods name it.
    #[must_use]
    pub fn hash(&self) -> &str {
        self.metadata.labels.get(REVISION_HASH).map_or(&self.metadata.name, String::as_str)
    }

    /// Whether it keeps this template.
    #[must_use]
    pub fn is_of(&self, template: &Value) -> bool {
        same(&self.template(), template)
    }

    /// The write that gives it a number.
    #[must_use]
    pub fn numbered(&self, number: i64) -> Write {
        let patch = json!({"metadata": {"uid": self.metadata.uid}, "revision": number});
        Write::new(&KIND, &self.metadata.namespace, &self.metadata.name, Action::Merge(patch))
    }

    /// The write that removes it.
    #[must_use]
    pub fn removed(&self) -> Write {
        let options = Deletion::of(&self.metadata.uid).body();
        Write::new(&KIND, &self.metadata.namespace, &self.metadata.name, Action::Delete(options))
    }
}

impl Revisions {
    /// Sorts them out by the present template; the newest of several of it is the present one.
    #[must_use]
    pub fn of(mut all: Vec<Revision>, template: &Value) -> Self {
        all.sort_by(|a, b| (a.revision, &a.metadata.name).cmp(&(b.revision, &b.metadata.name)));
        let (mut of_it, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|r| r.is_of(template));
        Self { present: of_it.pop(), doubles: of_it, old }
    }

    /// The number that the present template is to have.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.old.iter().map(|r| r.revision).max().unwrap_or(0) + 1
    }
}

/// The name that the next revision would have.
#[must_use]
pub fn next_name(owner: &Value) -> String {
    let name = owner["metadata"]["name"].as_str().unwrap_or_default();
    named(name, &next_hash(owner))
}

/// The hash that the next revision would have.
#[must_use]
pub fn next_hash(owner: &Value) -> String {
    let collisions = owner["status"]["collisionCount"].as_i64().and_then(|n| i32::try_from(n).ok());
    // None and no collision yet are the same.
    hash::template(&owner["spec"]["template"], collisions.filter(|c| *c > 0))
}

/// So many bytes of the owner's name are left in the name of a revision.
const LONGEST: usize = 223;

fn named(owner: &str, hash: &str) -> String {
    let end = (0..=owner.len().min(LONGEST)).rev().find(|at| owner.is_char_boundary(*at)).unwrap_or(0);
    format!("{}-{hash}", &owner[..end])
}

/// A revision of the owner's present template.
#[must_use]
pub fn new(kind: &Kind, owner: &Value, meta: &Meta, number: i64) -> Write {
    let template = &owner["spec"]["template"];
    let (name, hash) = (next_name(owner), next_hash(owner));
    let mut labels = template["metadata"]["labels"].clone();
    labels[REVISION_HASH] = json!(hash);
    let mut kept = template.clone();
    kept[DIRECTIVE] = json!("replace");
    let mut made = json!({"apiVersion": KIND.api_version(), "kind": KIND.kind,
        "metadata": {"name": name, "namespace": meta.namespace, "labels": labels,
            "ownerReferences": [owner_reference(kind, meta)]},
        "data": {"spec": {"template": kept}}, "revision": number});
    if !meta.annotations.is_empty() {
        made["metadata"]["annotations"] = json!(meta.annotations);
    }
    Write::new(&KIND, &meta.namespace, &name, Action::Create(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, number: i64, image: &str) -> Revision {
        let template = json!({"$patch": "replace", "spec": {"image": image}, "metadata": {}});
        let data = json!({"spec": {"template": template}});
        Revision { metadata: Meta { name: name.into(), ..Meta::default() }, revision: number, data }
    }

    #[test]
    fn the_present_one_is_the_newest_of_its_template() {
        let all = || {
            vec![revision("c", 3, "x"), revision("a", 1, "y"), revision("b", 2, "x"), revision("d", 4, "z")]
        };
        let names = |list: &[Revision]| list.iter().map(|r| r.metadata.name.clone()).collect::<Vec<_>>();
        for (image, present, doubles, old, next) in [
            ("x", Some("c"), vec!["b"], vec!["a", "d"], 5),
            ("z", Some("d"), vec![], vec!["a", "b", "c"], 4),
            ("w", None, vec![], vec!["a", "b", "c", "d"], 5),
        ] {
            let found = Revisions::of(all(), &json!({"spec": {"image": image}}));
            assert_eq!(found.present.as_ref().map(|r| r.metadata.name.as_str()), present, "{image}");
            assert_eq!(
                (names(&found.doubles), names(&found.old)),
                (
                    doubles.iter().map(|s| (*s).to_owned()).collect(),
                    old.iter().map(|s| (*s).to_owned()).collect()
                )
            );
            assert_eq!(found.next(), next);
        }
        assert_eq!(Revisions::default().next(), 1);
    }

    #[test]
    fn a_new_one_takes_the_template_back_as_a_patch() {
        let owner = json!({"metadata": {"name": "d"}, "spec": {"template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "new", "image": "i"}]}}}});
        let meta = Meta {
            name: "d".into(),
            namespace: "n".into(),
            annotations: [("note".to_owned(), "x".to_owned())].into(),
            ..Meta::default()
        };
        let Write { action: Action::Create(made), name, .. } = new(&crate::job::KIND, &owner, &meta, 7)
        else {
            panic!()
        };
        assert_eq!((name.as_str(), &made["revision"]), (next_name(&owner).as_str(), &json!(7)));
        assert_eq!(made["metadata"]["labels"], json!({"a": "b", REVISION_HASH: next_hash(&owner)}));
        assert_eq!(made["metadata"]["annotations"], json!({"note": "x"}));
        let stored: Revision = serde_json::from_value(made.clone()).unwrap();
        assert!(stored.is_of(&owner["spec"]["template"]) && stored.hash() == next_hash(&owner));
        // What kubectl does to go back: the other container and label are gone.
        let now = json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b", "c": "d"}},
            "spec": {"containers": [{"name": "other", "image": "j"}]}}}});
        let ty = schema::types::root("apps", "v1", "StatefulSet").unwrap();
        let patch = made["data"].to_string();
        let back = schema::patch::strategic_merge_patch(&now, patch.as_bytes(), ty).unwrap().value;
        assert_eq!(back["spec"]["template"], owner["spec"]["template"]);
        assert_eq!(back["spec"]["replicas"], 3);
    }

    #[test]
    fn names_have_room_for_the_hash() {
        let owner = |name: &str, collisions: Value| json!({"metadata": {"name": name}, "spec": {"template": {}}, "status": {"collisionCount": collisions}});
        assert_eq!(next_name(&owner("a", json!(0))), next_name(&owner("a", json!(null))));
        assert_ne!(next_name(&owner("a", json!(1))), next_name(&owner("a", json!(null))));
        assert!(next_name(&owner(&"x".repeat(253), json!(null))).len() <= 234);
    }
}
