//! Owners and their dependents.

use client::Verb;
use serde_json::{Value, json};

use crate::world::{World, name};

fn map(name: &str, owners: &[(&Value, bool)]) -> Value {
    let owner = |(owner, blocks): &(&Value, bool)| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks})
    };
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    json!({"metadata": {"name": name, "namespace": "default", "ownerReferences": owners}})
}

#[tokio::test(start_paused = true)]
async fn owners_take_their_dependents_along_or_not() {
    let world = World::start().await;
    for (owner, policy) in [("back", "Background"), ("fore", "Foreground"), ("orph", "Orphan")] {
        let made = world.create("configmaps", map(owner, &[])).await;
        world.create("configmaps", map(&format!("{owner}-1"), &[(&made, true)])).await;
        world.delete("configmaps", owner, json!({"propagationPolicy": policy})).await;
        world.until(policy, |w| w.is_gone("configmaps", owner)).await;
    }
    for gone in ["back-1", "fore-1"] {
        world.until(gone, |w| w.is_gone("configmaps", gone)).await;
    }
    let orphan = world.find("configmaps", "default", "orph-1").unwrap();
    assert!(orphan["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    // An owner of another UID is no owner.
    let namesake = json!({"metadata": {"name": "orph-1", "uid": "another"}});
    world.create("configmaps", map("stray", &[(&namesake, false)])).await;
    world.until("no stray", |w| w.is_gone("configmaps", "stray")).await;
    world.stop().await;
}

/// Whoever blocks holds its owner, whoever does not is gone after it; one with another owner lives on with that.
#[tokio::test(start_paused = true)]
async fn an_owner_waits_for_those_that_block_it() {
    let world = World::start().await;
    let (owner, other) =
        (world.create("configmaps", map("o", &[])).await, world.create("configmaps", map("p", &[])).await);
    let mut held = map("blocks", &[(&owner, true)]);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    world.create("configmaps", held).await;
    let mut free = map("free", &[(&owner, false)]);
    free["metadata"]["finalizers"] = json!(["example.com/held"]);
    world.create("configmaps", free).await;
    world.create("configmaps", map("shared", &[(&owner, true), (&other, true)])).await;
    world.delete("configmaps", "o", json!({"propagationPolicy": "Foreground"})).await;
    let asked = |name: &'static str| {
        move |w: &World| {
            let object = w.find("configmaps", "default", name)?;
            object["metadata"]["deletionTimestamp"].is_string().then_some(())
        }
    };
    world.until("both are asked to go", asked("blocks")).await;
    world.until("both are asked to go", asked("free")).await;
    let left = |w: &World| {
        let shared = w.find("configmaps", "default", "shared")?;
        let owners = shared["metadata"]["ownerReferences"].as_array().cloned()?;
        (owners.len() == 1 && owners[0]["name"] == "p").then_some(())
    };
    world.until("the shared one has the other owner alone", left).await;
    assert!(world.find("configmaps", "default", "o").is_some());
    world.patch("configmaps", "blocks", json!({"metadata": {"finalizers": null}})).await;
    world.until("no owner", |w| w.is_gone("configmaps", "o")).await;
    assert!(world.find("configmaps", "default", "free").is_some());
    world.stop().await;
}

/// An owner is looked for in the namespace of its dependent, and nowhere for what is in none.
#[tokio::test(start_paused = true)]
async fn owners_of_other_namespaces_are_none() {
    let world = World::start().await;
    let owner = world.create("configmaps", map("o", &[])).await;
    let mut dependent = map("d", &[(&owner, false)]);
    dependent["metadata"]["namespace"] = json!("kube-public");
    world.create("configmaps", dependent).await;
    let gone = |w: &World| w.find("configmaps", "kube-public", "d").is_none().then_some(());
    world.until("no dependent", gone).await;
    let mut wide = map("wide", &[(&owner, false)]);
    wide["metadata"].as_object_mut().unwrap().remove("namespace");
    world.create("namespaces", wide).await;
    let unserved = json!([{"apiVersion": "example.com/v1", "kind": "Unheard", "name": "x", "uid": "u"}]);
    let mut strange = map("strange", &[]);
    strange["metadata"]["ownerReferences"] = unserved;
    world.create("configmaps", strange).await;
    // What comes after them has been judged, so have they.
    let namesake = json!({"metadata": {"name": "o", "uid": "another"}});
    world.create("configmaps", map("stray", &[(&namesake, false)])).await;
    world.until("no stray", |w| w.is_gone("configmaps", "stray")).await;
    assert!(world.find("namespaces", "", "wide").is_some());
    assert!(world.find("configmaps", "default", "strange").is_some());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_owners_goes_as_a_whole() {
    let world = World::at_rest().await;
    let names = ["c1", "c2", "c3"];
    let mut made = Vec::new();
    for name in names {
        made.push(world.create("configmaps", map(name, &[])).await);
    }
    for (dependent, owner) in [(0, 2), (1, 0), (2, 1)] {
        let refs = map("", &[(&made[owner], true)])["metadata"]["ownerReferences"].take();
        world
            .patch("configmaps", name(&made[dependent]), json!({"metadata": {"ownerReferences": refs}}))
            .await;
    }
    // Two of them wait for their dependents already, whatever the third then does.
    for name in &names[..2] {
        let options = json!({"propagationPolicy": "Foreground"});
        world.call("configmaps", "default", name, "", Verb::Delete(Some(options))).await;
    }
    let world = world.running("h");
    for name in names {
        world.until("no circle", |w| w.is_gone("configmaps", name)).await;
    }
    world.stop().await;
}
