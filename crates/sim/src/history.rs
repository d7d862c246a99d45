//! What must hold of everything that ever happened, judged from the store's whole history after the fact.
//!
//! Invariant of the checks themselves: they read revisions in order and no clock, so a world that breaks a rule for one
//! revision is caught. Absent: rules about how fast anything is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use store::{Event, Interest, Store};

use crate::laws;
use crate::machine::Start;

/// Everything that happened in a world.
pub struct History {
    pods: Vec<Event>,
    jobs: Vec<Event>,
    /// What laws look at besides, by bucket.
    others: Vec<(&'static str, Vec<Event>)>,
    /// Containers started on any machine.
    pub starts: Vec<Start>,
    /// UIDs of Pods that the user deleted.
    pub deleted: BTreeSet<String>,
}

/// A Job as its objects say it.
#[derive(Debug, Default)]
struct Job {
    name: String,
    parallelism: usize,
    completions: usize,
    indexed: bool,
    deleting: bool,
    gone: bool,
    complete: bool,
    succeeded: usize,
    failed: usize,
    /// Pods that are active now, with their index.
    active: BTreeMap<String, String>,
}

/// A Pod over all its versions.
#[derive(Debug, Default)]
struct Life {
    name: String,
    job: String,
    index: String,
    node: String,
    phase: String,
    policy: String,
    deleting: bool,
    gone: bool,
}

impl History {
    /// Reads the store's history, which must be kept whole.
    ///
    /// # Panics
    /// If it is not.
    pub async fn read(store: &Arc<dyn Store>) -> Self {
        let (pods, jobs) = (events(store, "pods").await, events(store, "jobs.batch").await);
        let mut others = Vec::new();
        for bucket in laws::BUCKETS.into_iter().filter(|b| *b != "pods") {
            others.push((bucket, events(store, bucket).await));
        }
        Self { pods, jobs, others, starts: Vec::new(), deleted: BTreeSet::new() }
    }

    /// A number that differs if anything was written otherwise or in another order.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let others = self.others.iter().flat_map(|(_, all)| all);
        let bytes =
            self.pods.iter().chain(&self.jobs).chain(others).flat_map(|event| event.entry.value.iter());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// How many Pods there ever were.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.lives(&mut BTreeMap::new(), &mut Vec::new()).len()
    }

    /// Every rule that was broken, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut jobs = self.jobs();
        let lives = self.lives(&mut jobs, &mut found);
        for (uid, job) in &jobs {
            self.judge_job(uid, job, &lives, &mut found);
        }
        let stuck = lives.values().filter(|life| life.deleting && !life.gone);
        found.extend(stuck.map(|life| format!("the deletion of Pod {} never ended", life.name)));
        self.judge_starts(&lives, &mut found);
        self.judge_by_laws(&mut found);
        found
    }

    /// Every kind that has a law of its own, by all versions in their order.
    fn judge_by_laws(&self, found: &mut Vec<String>) {
        let others = self.others.iter().flat_map(|(bucket, all)| all.iter().map(|event| (*bucket, event)));
        let mut all: Vec<(&str, &Event)> =
            self.pods.iter().map(|event| ("pods", event)).chain(others).collect();
        all.sort_by_key(|(_, event)| event.entry.revision);
        let mut laws = laws::all();
        for (bucket, event) in all {
            let (object, revision, gone) = (&value(event), event.entry.revision, event.deleted);
            let version = laws::Version { bucket, revision, object, gone };
            laws.iter_mut().for_each(|law| law.see(&version, found));
        }
        laws.iter().for_each(|law| law.rest(found));
    }

    /// The Jobs as they were last.
    fn jobs(&self) -> BTreeMap<String, Job> {
        let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
        for event in &self.jobs {
            let object = value(event);
            let number = |v: &Value| usize::try_from(v.as_u64().unwrap_or(0)).unwrap_or(0);
            let (spec, status) = (&object["spec"], &object["status"]);
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let job = jobs.entry(text(&object["metadata"]["uid"])).or_default();
            *job = Job {
                name: text(&object["metadata"]["name"]),
                parallelism: number(&spec["parallelism"]),
                completions: number(&spec["completions"]),
                indexed: spec["completionMode"] == "Indexed",
                deleting: object["metadata"]["deletionTimestamp"].is_string(),
                gone: event.deleted,
                complete: conditions.iter().any(|c| c["type"] == "Complete" && c["status"] == "True"),
                succeeded: number(&status["succeeded"]),
                failed: number(&status["failed"]),
                active: BTreeMap::new(),
            };
        }
        jobs
    }

    /// Follows the Pods through all revisions; what must hold at each of them is judged here.
    fn lives(&self, jobs: &mut BTreeMap<String, Job>, found: &mut Vec<String>) -> BTreeMap<String, Life> {
        let mut lives: BTreeMap<String, Life> = BTreeMap::new();
        for event in &self.pods {
            let object = value(event);
            let uid = text(&object["metadata"]["uid"]);
            let next = Life::of(&object, event.deleted);
            let life = lives.entry(uid.clone()).or_default();
            let at = format!("at revision {} Pod {}", event.entry.revision, next.name);
            if !life.node.is_empty() && life.node != next.node {
                found.push(format!("{at} moved from {} to {:?}", life.node, next.node));
            }
            if life.is_over() && life.phase != next.phase {
                found.push(format!("{at} went from {} to {}", life.phase, next.phase));
            }
            if let Some(job) = jobs.get_mut(&next.job) {
                job.follow(&uid, &next, &at, found);
            }
            *life = next;
        }
        lives
    }

    fn judge_job(&self, uid: &str, job: &Job, lives: &BTreeMap<String, Life>, found: &mut Vec<String>) {
        let name = &job.name;
        if job.gone {
            return;
        }
        if job.deleting {
            found.push(format!("the deletion of Job {name} never ended"));
            return;
        }
        if !job.complete {
            found.push(format!("Job {name} never completed"));
            return;
        }
        let pods: Vec<(&String, &Life)> = lives.iter().filter(|(_, life)| life.job == uid).collect();
        let ended = |phase: &'static str| pods.iter().filter(move |(_, life)| life.phase == phase);
        let disturbed = pods.iter().filter(|(uid, _)| self.deleted.contains(*uid)).count();
        let done = if job.indexed {
            ended("Succeeded").map(|(_, life)| &life.index).collect::<BTreeSet<_>>().len()
        } else {
            ended("Succeeded").count()
        };
        let counts = format!("{} succeeded and {} failed of {} Pods", job.succeeded, job.failed, pods.len());
        // A Pod that ends well after its replacement was made is one more, and no fault.
        let exact = if disturbed == 0 { done == job.completions } else { done >= job.completions };
        if !exact || (disturbed == 0 && job.succeeded != done) || job.succeeded > done.max(job.completions) {
            found.push(format!("Job {name} wanted {}, had {done} and counted {counts}", job.completions));
        }
        if disturbed == 0 && job.failed + ended("Succeeded").count() != pods.len() {
            found.push(format!("Job {name} has not counted every Pod once: {counts}"));
        }
        let reasons = job.completions + ended("Failed").count() + disturbed;
        if pods.len() > reasons {
            found.push(format!("Job {name} made {} Pods and had reasons for {reasons}", pods.len()));
        }
    }

    fn judge_starts(&self, lives: &BTreeMap<String, Life>, found: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for start in &self.starts {
            let Some(life) = lives.get(&start.pod) else {
                found.push(format!("a container of an unknown Pod was started: {start:?}"));
                continue;
            };
            let again = match life.policy.as_str() {
                "Always" => true,
                "OnFailure" => start.previous.is_some_and(|code| code != 0),
                _ => false,
            };
            let first = start.attempt == 0 && start.previous.is_none();
            let rightful = first || (start.attempt > 0 && start.previous.is_some() && again);
            let fresh = seen.insert((&start.pod, &start.container, start.attempt));
            if !rightful || !fresh || start.beside_another {
                found.push(format!("Pod {} ({}): {start:?}", life.name, life.policy));
            }
        }
    }
}

impl Job {
    /// Takes in the next version of one of its Pods.
    fn follow(&mut self, uid: &str, next: &Life, at: &str, found: &mut Vec<String>) {
        if next.is_over() || next.deleting || next.gone {
            self.active.remove(uid);
            return;
        }
        let double = self.indexed && self.active.iter().any(|(other, i)| other != uid && *i == next.index);
        if self.active.insert(uid.to_owned(), next.index.clone()).is_some() {
            return;
        }
        if double {
            found.push(format!("{at} is another one with index {} of Job {}", next.index, self.name));
        }
        if self.active.len() > self.parallelism {
            let (active, most) = (self.active.len(), self.parallelism);
            found.push(format!(
                "{at} is one too many: Job {} has {active} active, parallelism {most}",
                self.name
            ));
        }
    }
}

impl Life {
    fn of(pod: &Value, gone: bool) -> Self {
        let meta = &pod["metadata"];
        let owners = meta["ownerReferences"].as_array().cloned().unwrap_or_default();
        let job = owners.iter().find(|o| o["kind"] == "Job").map(|o| text(&o["uid"])).unwrap_or_default();
        Self {
            name: text(&meta["name"]),
            job,
            index: text(&meta["annotations"]["batch.kubernetes.io/job-completion-index"]),
            node: text(&pod["spec"]["nodeName"]),
            phase: text(&pod["status"]["phase"]),
            policy: text(&pod["spec"]["restartPolicy"]),
            deleting: meta["deletionTimestamp"].is_string(),
            gone,
        }
    }

    fn is_over(&self) -> bool {
        kinds::rules::phase::is_finished(&self.phase)
    }
}

async fn events(store: &Arc<dyn Store>, bucket: &str) -> Vec<Event> {
    let mut watcher = store.watch(&[Interest::whole(bucket)], 0).expect("a history that is whole");
    tokio::select! {
        biased;
        events = watcher.next() => events.expect("a history that is whole"),
        // A cursor waits if there is nothing.
        () = std::future::ready(()) => Vec::new(),
    }
}

fn value(event: &Event) -> Value {
    serde_json::from_slice(&event.entry.value).expect("the store holds JSON")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
