//! Tables: one object each, what its owners and dependents are, and what becomes of it.

use serde_json::Value;

use super::*;

fn owner(name: &str) -> OwnerRef {
    let (uid, kind) = (format!("{name}-uid"), "Pod".to_owned());
    OwnerRef {
        api_version: "v1".into(),
        kind,
        name: name.into(),
        uid,
        block_owner_deletion: true,
        ..OwnerRef::default()
    }
}

fn object(owners: &[&str], finalizers: &[&str], deleting: bool) -> Meta {
    Meta {
        name: "o".into(),
        namespace: "n".into(),
        uid: "o-uid".into(),
        resource_version: "7".into(),
        finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
        owner_references: owners.iter().map(|name| owner(name)).collect(),
        deletion_timestamp: deleting.then(|| "t".to_owned()),
        ..Meta::default()
    }
}

/// The plan as text.
fn show(meta: Meta, owners: &[Owner], dependents: Dependents) -> String {
    let plan =
        reconcile(&Observed { kind: crate::job::KIND.clone(), meta, owners: owners.to_vec(), dependents });
    let gone = plan.gone.iter().map(|g| format!("gone {} {}/{}", g.kind.plural, g.namespace, g.name));
    let writes = plan.stages.iter().flatten().map(|w| match &w.action {
        Action::Delete(options) => {
            let version = &options["preconditions"]["resourceVersion"];
            let policy = options["propagationPolicy"].as_str().unwrap();
            format!("delete {} {policy}{}", w.name, if version.is_null() { "" } else { " at this version" })
        }
        Action::Merge(patch) => {
            let meta = &patch["metadata"];
            assert_eq!(meta["resourceVersion"], "7");
            let owner = |o: &Value| {
                let mark = if o["blockOwnerDeletion"] == true { "" } else { " unblocked" };
                format!("{}{mark}", o["name"].as_str().unwrap())
            };
            match meta["ownerReferences"].as_array() {
                Some(owners) => {
                    format!("owners of {}: {:?}", w.name, owners.iter().map(owner).collect::<Vec<_>>())
                }
                None => format!("finalizers of {}: {}", w.name, meta["finalizers"]),
            }
        }
        other => panic!("{other:?}"),
    });
    gone.chain(writes).collect::<Vec<_>>().join("; ")
}

#[test]
fn of_the_living() {
    let pod = || Owner::Missing(crate::pod::KIND.clone());
    let node = || Owner::Missing(crate::node::KIND.clone());
    let some = || Dependents { any: true, blocking: true, ..Dependents::default() };
    let circle = || Dependents { waiting: true, ..some() };
    for (name, owners, finalizer, dependents, want) in [
        ("no owner", vec![], "", Dependents::default(), ""),
        ("lives", vec![Owner::Lives], "", some(), ""),
        (
            "gone",
            vec![pod()],
            "",
            Dependents::default(),
            "gone pods n/a; delete o Background at this version",
        ),
        (
            "an owner of no namespace",
            vec![node()],
            "",
            some(),
            "gone nodes /a; delete o Background at this version",
        ),
        ("lets its own go", vec![pod()], ORPHAN, some(), "gone pods n/a; delete o Orphan at this version"),
        (
            "waits for its own",
            vec![pod()],
            FOREGROUND,
            some(),
            "gone pods n/a; delete o Foreground at this version",
        ),
        ("waited for", vec![Owner::Waits], "", Dependents::default(), "delete o Background at this version"),
        ("waited for, has dependents", vec![Owner::Waits], "", some(), "delete o Foreground at this version"),
        (
            "one gone, one waits",
            vec![pod(), Owner::Waits],
            "",
            some(),
            "gone pods n/a; delete o Foreground at this version",
        ),
        (
            "one lives, one gone",
            vec![Owner::Lives, pod()],
            "",
            some(),
            r#"gone pods n/b; owners of o: ["a"]"#,
        ),
        ("one waits, one lives", vec![Owner::Waits, Owner::Lives], "", circle(), r#"owners of o: ["b"]"#),
        (
            "a circle",
            vec![Owner::Waits],
            "",
            circle(),
            r#"owners of o: ["a unblocked"]; delete o Foreground"#,
        ),
        ("of a kind that is not served", vec![Owner::Unknown], "", some(), ""),
        ("one gone, one nobody knows", vec![pod(), Owner::Unknown], "", some(), ""),
    ] {
        let names = &["a", "b"][..owners.len()];
        let finalizers: &[&str] = if finalizer.is_empty() { &[] } else { &[finalizer] };
        assert_eq!(show(object(names, finalizers, false), &owners, dependents), want, "{name}");
    }
}

#[test]
fn of_those_being_deleted() {
    let dependent =
        |owners: &[&str]| (crate::pod::KIND.clone(), Meta { name: "d".into(), ..object(owners, &[], false) });
    let me = OwnerRef { uid: "o-uid".into(), ..owner("o") };
    let mut freed = dependent(&["b"]);
    freed.1.owner_references.push(me);
    for (name, finalizers, dependents, want) in [
        ("without finalizers", &[][..], Dependents { blocking: true, ..Dependents::default() }, ""),
        ("waits still", &[FOREGROUND], Dependents { blocking: true, ..Dependents::default() }, ""),
        (
            "waits no more",
            &["x/y", FOREGROUND],
            Dependents { any: true, ..Dependents::default() },
            r#"finalizers of o: ["x/y"]"#,
        ),
        (
            "lets its own go",
            &[ORPHAN],
            Dependents { all: vec![freed], ..Dependents::default() },
            r#"owners of d: ["b"]; finalizers of o: []"#,
        ),
        ("lets nobody go", &[ORPHAN], Dependents::default(), "finalizers of o: []"),
    ] {
        assert_eq!(show(object(&["a"], finalizers, true), &[Owner::Lives], dependents), want, "{name}");
    }
}

#[test]
fn whom_a_change_concerns() {
    let facts = |uid: &str, owner: &str, finalizer: &str, deleting: bool| {
        let owners = if owner.is_empty() { json!([]) } else { json!([{"uid": owner}]) };
        let finalizers = if finalizer.is_empty() { json!([]) } else { json!([finalizer]) };
        let time = if deleting { json!("t") } else { Value::Null };
        let meta = json!({"uid": uid, "ownerReferences": owners, "finalizers": finalizers, "deletionTimestamp": time});
        Facts::of_metadata(json!({ "metadata": meta }).to_string().as_bytes()).unwrap()
    };
    let free = || Some(facts("u", "", "", false));
    let owned = || Some(facts("u", "a", "", false));
    for (name, before, after, want) in [
        ("a stranger comes", None, free(), ""),
        ("a dependent comes", None, owned(), "itself"),
        ("one comes that waits", None, Some(facts("u", "", FOREGROUND, true)), "itself dependents"),
        ("its status changes", owned(), owned(), ""),
        ("it gets an owner", free(), owned(), "itself owners"),
        ("it loses one", owned(), free(), "owners"),
        ("it has another", owned(), Some(facts("u", "b", "", false)), "itself owners"),
        ("it begins to wait", free(), Some(facts("u", "", FOREGROUND, true)), "itself dependents"),
        ("it begins to let go", free(), Some(facts("u", "", ORPHAN, true)), "itself"),
        (
            "it waits for another finalizer",
            Some(facts("u", "", "x/y", true)),
            Some(facts("u", "", "", true)),
            "itself",
        ),
        ("it is gone", free(), None, "owners before"),
        ("another has its name", owned(), Some(facts("v", "a", "", false)), "itself owners before"),
    ] {
        let concerns = concerns(before.as_ref(), after.as_ref());
        let named = [
            (concerns.itself, "itself"),
            (concerns.owners, "owners"),
            (concerns.dependents_before, "before"),
            (concerns.dependents, "dependents"),
        ];
        let named: Vec<&str> = named.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect();
        assert_eq!(named.join(" "), want, "{name}");
    }
}
