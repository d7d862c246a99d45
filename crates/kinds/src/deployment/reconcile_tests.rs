//! Turns of a Deployment as tables, and whole rollouts played to their end.

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1000);

/// A Deployment and its sets as a cluster of only them.
struct World {
    deployment: Value,
    sets: Vec<Value>,
    at: Timestamp,
    said: Vec<String>,
}

impl World {
    fn new(spec: &Value) -> Self {
        let base = json!({"metadata": {"name": "d", "namespace": "n", "uid": "d-uid", "generation": 1},
            "spec": {"replicas": 4, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"image": "1"}]}}}});
        let mut world = Self { deployment: base, sets: Vec::new(), at: NOW, said: Vec::new() };
        world.change(spec);
        world.deployment["metadata"]["generation"] = json!(1);
        world
    }

    fn change(&mut self, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        self.deployment = schema::patch::merge_patch(&self.deployment, patch.as_bytes()).unwrap().value;
        let generation = self.deployment["metadata"]["generation"].as_i64().unwrap();
        self.deployment["metadata"]["generation"] = json!(generation + 1);
    }

    fn image(&mut self, image: &str) {
        self.change(&json!({"template": {"spec": {"containers": [{"image": image}]}}}));
    }

    fn observed(&self) -> Observed {
        let name = next_name(&self.deployment);
        let namesake = self.sets.iter().find(|s| s["metadata"]["name"] == name.as_str()).cloned();
        let (deployment, sets) = (self.deployment.clone(), self.sets.clone());
        Observed { deployment, sets, namesake, pods: Vec::new() }
    }

    /// One turn of the controller; whether it wrote anything.
    fn turn(&mut self) -> bool {
        let plan = reconcile(self.at, &self.observed()).unwrap();
        for write in plan.stages.iter().flatten() {
            self.said.extend(write.said.iter().map(|n| n.message.clone()));
            match &write.action {
                Action::Create(object) => {
                    let mut made = object.clone();
                    let seconds = i64::try_from(self.sets.len()).unwrap();
                    made["metadata"]["creationTimestamp"] = json!(Timestamp::from_seconds(seconds).rfc3339());
                    made["metadata"]["uid"] = json!(format!("{}-uid", write.name));
                    made["status"] = json!({"replicas": 0});
                    self.sets.push(made);
                }
                Action::Update(object) => self.deployment = object.clone(),
                Action::Merge(patch) => {
                    let set =
                        self.sets.iter_mut().find(|s| s["metadata"]["name"] == write.name.as_str()).unwrap();
                    *set = schema::patch::merge_patch(set, patch.to_string().as_bytes()).unwrap().value;
                }
                Action::Delete(_) => self.sets.retain(|s| s["metadata"]["name"] != write.name.as_str()),
                other => panic!("{other:?}"),
            }
        }
        !plan.is_idle()
    }

    /// The ReplicaSets do what they are told, one Pod of each becoming available; whether anything happened.
    fn obey(&mut self) -> bool {
        let mut moved = false;
        for set in &mut self.sets {
            let wanted = set["spec"]["replicas"].as_i64().unwrap();
            let ready = set["status"]["availableReplicas"].as_i64().unwrap_or(0);
            let now = if ready > wanted { wanted } else { (ready + 1).min(wanted) };
            let status = json!({"replicas": wanted, "readyReplicas": now, "availableReplicas": now});
            moved |= set["status"] != status;
            set["status"] = status;
        }
        moved
    }

    fn numbers(&self) -> Vec<i64> {
        self.sets.iter().map(|s| s["spec"]["replicas"].as_i64().unwrap()).collect()
    }

    /// To the end; what must hold at every step is checked.
    fn settle(&mut self) {
        for _ in 0..200 {
            let wrote = self.turn();
            let wanted = self.deployment["spec"]["replicas"].as_i64().unwrap();
            assert!(self.numbers().iter().sum::<i64>() <= wanted + 1, "{:?}", self.numbers());
            if !(wrote | self.obey()) {
                return;
            }
        }
        panic!("never came to rest: {:?}", self.deployment);
    }

    fn condition(&self, kind: &str) -> String {
        let all = self.deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let one = all.iter().find(|c| c["type"] == kind).cloned().unwrap_or_default();
        format!("{} {}: {}", one["status"], one["reason"], one["message"]).replace('"', "")
    }

    fn revisions(&self) -> Vec<&str> {
        let of = |s: &Value| s["metadata"]["annotations"][revisions::REVISION].as_str().map(str::to_owned);
        self.sets
            .iter()
            .map(|s| {
                if of(s).is_some() {
                    s["metadata"]["annotations"][revisions::REVISION].as_str().unwrap()
                } else {
                    ""
                }
            })
            .collect()
    }
}

#[test]
fn a_rollout_an_undo_and_its_history() {
    let mut world = World::new(&json!({}));
    world.settle();
    assert_eq!((world.numbers(), world.revisions()), (vec![4], vec!["1"]));
    let first = world.sets[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(world.said, [format!("Scaled up replica set {first} from 0 to 4")]);
    assert_eq!(
        world.condition("Progressing"),
        format!("True NewReplicaSetAvailable: ReplicaSet \\{first}\\ has successfully progressed.")
    );
    assert_eq!(
        world.condition("Available"),
        "True MinimumReplicasAvailable: Deployment has minimum availability."
    );
    world.image("2");
    world.settle();
    assert_eq!((world.numbers(), world.revisions()), (vec![0, 4], vec!["1", "2"]));
    assert_eq!(world.deployment["metadata"]["annotations"][revisions::REVISION], "2");
    // Undone: the old set comes back under a new number, no third is made.
    world.image("1");
    world.settle();
    assert_eq!((world.numbers(), world.revisions()), (vec![4, 0], vec!["3", "2"]));
    let history = &world.sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"];
    assert_eq!(history, "1");
    let status = &world.deployment["status"];
    assert_eq!((&status["updatedReplicas"], &status["availableReplicas"]), (&json!(4), &json!(4)));
    // Only as many old ones as the limit says stay.
    world.change(&json!({"revisionHistoryLimit": 1}));
    world.image("3");
    world.settle();
    assert_eq!((world.numbers(), world.revisions()), (vec![0, 4], vec!["3", "4"]));
}

#[test]
fn scaling_pausing_and_recreating() {
    let mut world = World::new(&json!({}));
    world.settle();
    world.change(&json!({"replicas": 6, "paused": true}));
    world.image("2");
    world.settle();
    // Paused: scaled, but not rolled out.
    assert_eq!(world.numbers(), [6]);
    assert_eq!(world.condition("Progressing"), "Unknown DeploymentPaused: Deployment is paused");
    world.change(&json!({"paused": null, "strategy": {"type": "Recreate", "rollingUpdate": null}}));
    world.turn();
    assert_eq!(world.numbers(), [0]);
    world.turn();
    assert_eq!(world.numbers(), [0], "old Pods are still there");
    world.settle();
    assert_eq!(world.numbers(), [0, 6]);
}

#[test]
fn sets_share_what_is_added_in_the_middle_of_a_rollout() {
    let mut world = World::new(&json!({"replicas": 10}));
    world.settle();
    world.image("2");
    for _ in 0..3 {
        world.turn();
        // Nothing becomes ready.
        for set in &mut world.sets {
            let wanted = set["spec"]["replicas"].clone();
            set["status"]["replicas"] = wanted;
        }
        world.sets[0]["status"]["availableReplicas"] = world.sets[0]["spec"]["replicas"].clone();
    }
    assert_eq!(world.numbers(), [9, 2]);
    world.change(&json!({"replicas": 20}));
    world.turn();
    assert_eq!(world.numbers(), [17, 4]);
}

#[test]
fn no_progress_is_told_after_the_deadline() {
    let mut world = World::new(&json!({}));
    world.turn();
    world.turn();
    let plan = reconcile(NOW, &world.observed()).unwrap();
    assert_eq!(plan.wake_at, Some(Timestamp::from_seconds(1601)));
    world.at = Timestamp::from_seconds(1601);
    world.turn();
    let name = world.sets[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        world.condition("Progressing"),
        format!("False ProgressDeadlineExceeded: ReplicaSet \\{name}\\ has timed out progressing.")
    );
    assert_eq!(reconcile(world.at, &world.observed()).unwrap().wake_at, None);
}

#[test]
fn a_name_that_is_taken_and_a_set_that_is_refused() {
    let mut world = World::new(&json!({}));
    let name = next_name(&world.deployment);
    let other = json!({"metadata": {"name": name, "uid": "o", "labels": {"app": "y"}}, "spec": {"replicas": 0}, "status": {}});
    world.sets.push(other);
    world.turn();
    assert_eq!(world.deployment["status"]["collisionCount"], 1);
    assert_ne!(next_name(&world.deployment), name);
    let failure =
        Failed { kind: SETS.clone(), deed: Deed::Create, message: "no".into(), reason: "Forbidden".into() };
    let plan = failed(NOW, &world.observed(), &failure).unwrap();
    let message = format!("Failed to create new replica set {:?}: no", next_name(&world.deployment));
    assert_eq!(plan.events, [Notice::warning("ReplicaSetCreateError", message.clone())]);
    let Action::Update(object) = &plan.stages[0][0].action else { panic!("{plan:?}") };
    assert!(
        object["status"]["conditions"].as_array().unwrap().iter().any(|c| c["message"] == message.as_str())
    );
}
