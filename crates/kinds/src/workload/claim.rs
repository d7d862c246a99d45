//! Whose object is whose: adoption and release by selector (`pkg/controller/controller_ref_manager.go`).
//!
//! Invariants: what has another controller is never touched; who is being deleted neither adopts nor releases; what is
//! being deleted is not adopted. Every write names the object's UID, so that a successor of the same name is left alone.

use std::sync::Arc;

use base::labels::Selector;
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::plan::{Action, Write};
use crate::view::Meta;

/// Who claims.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Its kind.
    pub kind: &'a Kind,
    /// Its metadata.
    pub meta: &'a Meta,
    /// What it selects.
    pub selector: &'a Selector,
    /// Finalizers that its objects carry, and lose when they are let go.
    pub finalizers: &'a [&'a str],
}

/// What one claim comes to.
#[derive(Debug)]
pub struct Claimed<T> {
    /// What is the claimant's now, the adopted included.
    pub mine: Vec<T>,
    /// Adoptions and releases.
    pub writes: Vec<Write>,
}

/// What an object is to a claimant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// Its own.
    Mine,
    /// Nobody's, to be adopted.
    Orphan,
    /// Its own, to be released.
    Stray,
    /// None of its business.
    Foreign,
}

impl Claimant<'_> {
    /// What an object is to it.
    #[must_use]
    pub fn tie(&self, object: &Meta) -> Tie {
        let selected = self.selector.matches(&object.labels);
        match object.controller() {
            Some(owner) if owner.uid != self.meta.uid => Tie::Foreign,
            Some(_) if selected || self.meta.deleting() => Tie::Mine,
            Some(_) => Tie::Stray,
            None if selected && !self.meta.deleting() && !object.deleting() => Tie::Orphan,
            None => Tie::Foreign,
        }
    }

    /// Sorts out objects of one kind.
    pub fn claim<T>(&self, kind: &Arc<Kind>, objects: Vec<T>, meta: impl Fn(&T) -> &Meta) -> Claimed<T> {
        let mut claimed = Claimed { mine: Vec::new(), writes: Vec::new() };
        for object in objects {
            match self.tie(meta(&object)) {
                Tie::Foreign => continue,
                Tie::Stray => {
                    claimed.writes.push(self.release(kind, meta(&object)));
                    continue;
                }
                Tie::Orphan => claimed.writes.push(self.adopt(kind, meta(&object))),
                Tie::Mine => {}
            }
            claimed.mine.push(object);
        }
        claimed
    }

    /// Makes the claimant the object's controller.
    #[must_use]
    pub fn adopt(&self, kind: &Arc<Kind>, object: &Meta) -> Write {
        let mut meta = json!({"uid": object.uid, "ownerReferences": [owner_reference(self.kind, self.meta)]});
        if !self.finalizers.is_empty() {
            meta["finalizers"] = json!(self.finalizers);
        }
        strategic(kind, object, &meta)
    }

    /// Takes the claimant off an object, which lives on.
    #[must_use]
    pub fn release(&self, kind: &Arc<Kind>, object: &Meta) -> Write {
        let owners = json!([{"$patch": "delete", "uid": self.meta.uid}]);
        let mut meta = json!({"uid": object.uid, "ownerReferences": owners});
        if !self.finalizers.is_empty() {
            meta["$deleteFromPrimitiveList/finalizers"] = json!(self.finalizers);
        }
        strategic(kind, object, &meta)
    }
}

fn strategic(kind: &Arc<Kind>, object: &Meta, meta: &Value) -> Write {
    Write::new(kind, &object.namespace, &object.name, Action::Strategic(json!({"metadata": meta})))
}

/// The reference that a controller's objects carry.
#[must_use]
pub fn owner_reference(kind: &Kind, meta: &Meta) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": meta.name, "uid": meta.uid,
        "controller": true, "blockOwnerDeletion": true})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::OwnerRef;

    fn object(owner: &str, label: &str, deleting: bool) -> Meta {
        let owner = OwnerRef { uid: owner.into(), controller: true, ..OwnerRef::default() };
        Meta {
            name: "p".into(),
            uid: "p-uid".into(),
            labels: [("app".to_owned(), label.to_owned())].into(),
            owner_references: if owner.uid.is_empty() { Vec::new() } else { vec![owner] },
            deletion_timestamp: deleting.then(|| "t".to_owned()),
            ..Meta::default()
        }
    }

    #[test]
    fn ties() {
        use Tie::{Foreign, Mine, Orphan, Stray};
        let selector = Selector::from_map([("app", "x")]);
        for (owner, label, deleting, want, of_deleted) in [
            ("me", "x", false, Mine, Mine),
            ("me", "y", false, Stray, Mine),
            ("me", "x", true, Mine, Mine),
            ("other", "x", false, Foreign, Foreign),
            ("", "x", false, Orphan, Foreign),
            ("", "x", true, Foreign, Foreign),
            ("", "y", false, Foreign, Foreign),
        ] {
            for (deleted, want) in [(false, want), (true, of_deleted)] {
                let deletion_timestamp = deleted.then(|| "t".to_owned());
                let meta = Meta { uid: "me".into(), deletion_timestamp, ..Meta::default() };
                let kind = &crate::job::KIND;
                let claimant = Claimant { kind, meta: &meta, selector: &selector, finalizers: &[] };
                let tie = claimant.tie(&object(owner, label, deleting));
                assert_eq!(tie, want, "{owner:?} {label} {deleting} {deleted}");
            }
        }
    }

    #[test]
    fn writes_name_the_object_and_the_claimant() {
        let selector = Selector::from_map([("app", "x")]);
        let meta = Meta { name: "j".into(), uid: "me".into(), ..Meta::default() };
        let kind = &crate::job::KIND;
        let claimant = Claimant { kind, meta: &meta, selector: &selector, finalizers: &["f"] };
        let all = vec![object("", "x", false), object("me", "y", false), object("other", "x", false)];
        let claimed = claimant.claim(&crate::pod::KIND, all, |m| m);
        assert_eq!(claimed.mine.len(), 1);
        let patches: Vec<&Value> = claimed
            .writes
            .iter()
            .map(|w| match &w.action {
                Action::Strategic(patch) => &patch["metadata"],
                other => panic!("{other:?}"),
            })
            .collect();
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "me", "controller": true,
            "blockOwnerDeletion": true});
        assert_eq!(patches[0], &json!({"uid": "p-uid", "ownerReferences": [owner], "finalizers": ["f"]}));
        let gone = json!([{"$patch": "delete", "uid": "me"}]);
        let released = json!({"uid": "p-uid", "ownerReferences": gone,
            "$deleteFromPrimitiveList/finalizers": ["f"]});
        assert_eq!(patches[1], &released);
    }
}
