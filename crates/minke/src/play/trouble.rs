//! Why a Pod or a Job cannot begin, and when that is for good. Pure.
//!
//! In a throwaway instance nobody comes to make a missing ConfigMap or to add a node: what cannot begin for a while never
//! will. Only a registry may be back at the next try.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};

use super::verdict::{finished, owned, terminal};
use super::{State, Wanted, statuses};

/// Kind, namespace and name.
pub type Id = (&'static str, String, String);

/// So many failed pulls are enough.
const PULLS: i32 = 2;

/// Warnings that stop nothing.
const HARMLESS: &[&str] = &["MissingClusterDNS"];

/// What is in something's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In words.
    pub why: String,
    /// Whether waiting is in vain.
    pub at_once: bool,
}

impl Trouble {
    fn lasting(why: String) -> Self {
        Self { why, at_once: false }
    }
}

/// Everything wanted that cannot begin at present.
pub fn of(wanted: &Wanted, state: &State) -> BTreeMap<Id, Trouble> {
    let pods = wanted.pods.iter().filter_map(|(namespace, name)| {
        let trouble = match state.pods.get(&(namespace.clone(), name.clone())) {
            Some(pod) => of_pod(pod, state),
            None => Some(Trouble::lasting("it is gone".to_owned())),
        };
        Some((("pod", namespace.clone(), name.clone()), trouble?))
    });
    let jobs = wanted.jobs.iter().filter_map(|(namespace, name)| {
        let trouble = match state.jobs.get(&(namespace.clone(), name.clone())) {
            Some(job) => of_job(job, state),
            None => Some(Trouble::lasting("it is gone".to_owned())),
        };
        Some((("job", namespace.clone(), name.clone()), trouble?))
    });
    pods.chain(jobs).collect()
}

fn of_job(job: &Job, state: &State) -> Option<Trouble> {
    if finished(job).is_some() {
        return None;
    }
    let alive: Vec<&Pod> = owned(job, state).filter(|pod| !terminal(pod)).collect();
    if !alive.is_empty() {
        let troubles: Option<Vec<Trouble>> = alive.iter().map(|pod| of_pod(pod, state)).collect();
        return troubles?.into_iter().max_by_key(|trouble| trouble.at_once);
    }
    if job.spec.as_ref().and_then(|s| s.suspend) == Some(true) {
        return Some(Trouble::lasting("it is suspended".to_owned()));
    }
    // Between two tries of a Job there is no Pod either; only one that could not be made is in trouble.
    let warned =
        warnings(state, job.metadata.uid.as_deref()).filter(|e| e.reason.as_deref() == Some("FailedCreate"));
    warned.last().and_then(|event| event.message.clone()).map(Trouble::lasting)
}

fn of_pod(pod: &Pod, state: &State) -> Option<Trouble> {
    if terminal(pod) {
        return None;
    }
    let status = pod.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_ref()).into_iter().flatten();
    if let Some(scheduled) = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")
    {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        return Some(Trouble::lasting(format!("{}: {}", text(&scheduled.reason), text(&scheduled.message))));
    }
    let uid = pod.metadata.uid.as_deref();
    if let Some(trouble) =
        statuses(pod).find_map(|container| of_container(container, failed_pulls(state, uid)))
    {
        return Some(trouble);
    }
    // Nothing was started yet, and the node complains: of a volume, of the network.
    let begun = |c: &ContainerStatus| {
        let now = c.state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some());
        now || c.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    };
    if statuses(pod).any(begun) {
        return None;
    }
    let setup = warnings(state, uid)
        .filter(|e| matches!(e.reason.as_deref(), Some("FailedMount" | "FailedCreatePodSandBox")));
    setup.last().and_then(|event| event.message.clone()).map(Trouble::lasting)
}

fn of_container(container: &ContainerStatus, failed_pulls: i32) -> Option<Trouble> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let (reason, message) =
        (waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref().unwrap_or_default());
    let why = format!("container {}: {reason}: {message}", container.name);
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => None,
        "InvalidImageName" => Some(Trouble { why, at_once: true }),
        "ErrImagePull" | "ImagePullBackOff" => {
            (failed_pulls >= PULLS).then_some(Trouble { why, at_once: true })
        }
        // It runs, now and then; unless its program cannot even be started.
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref()?.terminated.as_ref()?;
            let (reason, message) = (last.reason.as_deref()?, last.message.as_deref().unwrap_or_default());
            let why = format!("container {}: {reason}: {message}", container.name);
            matches!(reason, "StartError" | "ContainerCannotRun").then(|| Trouble::lasting(why))
        }
        _ => Some(Trouble::lasting(why)),
    }
}

fn failed_pulls(state: &State, uid: Option<&str>) -> i32 {
    let failed = warnings(state, uid).filter(|event| {
        event.message.as_deref().is_some_and(|message| message.starts_with("Failed to pull image"))
    });
    failed.map(|event| event.count.unwrap_or(1)).sum()
}

/// Warnings about one object, in the order of their names, which is that of time.
fn warnings<'a>(state: &'a State, uid: Option<&'a str>) -> impl Iterator<Item = &'a Event> {
    let about = move |event: &&Event| event.involved_object.uid.as_deref() == uid && uid.is_some();
    state.events.values().filter(about).filter(|event| is_warning(event))
}

/// Whether an Event says that something is wrong with a Pod or a Job.
pub fn is_warning(event: &Event) -> bool {
    event.type_.as_deref() == Some("Warning")
        && !event.reason.as_deref().is_some_and(|reason| HARMLESS.contains(&reason))
        && matches!(event.involved_object.kind.as_deref(), Some("Pod" | "Job"))
}

/// How long trouble may last before it is taken for good.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    since: BTreeMap<Id, Instant>,
}

impl Patience {
    /// Nothing is in trouble yet.
    pub fn new(limit: Duration) -> Self {
        Self { limit, since: BTreeMap::new() }
    }

    /// What is lost of what is in trouble `now`, and why.
    pub fn lost(&mut self, now: Instant, troubles: BTreeMap<Id, Trouble>) -> BTreeMap<Id, String> {
        self.since.retain(|id, _| troubles.contains_key(id));
        let mut lost = BTreeMap::new();
        for (id, trouble) in troubles {
            let since = *self.since.entry(id.clone()).or_insert(now);
            if trouble.at_once || now.saturating_duration_since(since) >= self.limit {
                lost.insert(id, trouble.why);
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn look(status: &Value, events: &Value) -> Option<Trouble> {
        let key = ("default".to_owned(), "a".to_owned());
        let pod = json!({"metadata": {"name": "a", "namespace": "default", "uid": "u"}, "status": status});
        let mut state = State::default();
        state.pods.insert(key.clone(), serde_json::from_value(pod).unwrap());
        for (n, event) in events.as_array().unwrap().iter().enumerate() {
            let mut event = event.clone();
            event["metadata"] = json!({});
            event["type"] = "Warning".into();
            event["involvedObject"] = json!({"kind": "Pod", "uid": "u"});
            state.events.insert((String::new(), n.to_string()), serde_json::from_value(event).unwrap());
        }
        of(&Wanted { pods: [key].into(), ..Wanted::default() }, &state).into_values().next()
    }

    fn waiting(reason: &str) -> Value {
        json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "m"}}}]})
    }

    #[test]
    fn pods() {
        let pull = |count: i32| json!([{"reason": "Failed", "message": "Failed to pull image \"i\": x", "count": count}]);
        let mount = json!([{"reason": "FailedMount", "message": "no such volume"}]);
        let dns = json!([{"reason": "MissingClusterDNS", "message": "m"}]);
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}]});
        for (status, events, want) in [
            (waiting("ContainerCreating"), json!([]), None),
            (waiting("ContainerCreating"), dns, None),
            (waiting("ContainerCreating"), mount, Some(("no such volume", false))),
            (
                waiting("CreateContainerConfigError"),
                json!([]),
                Some(("container c: CreateContainerConfigError: m", false)),
            ),
            (waiting("InvalidImageName"), json!([]), Some(("container c: InvalidImageName: m", true))),
            (waiting("ImagePullBackOff"), pull(1), None),
            (waiting("ImagePullBackOff"), pull(2), Some(("container c: ImagePullBackOff: m", true))),
            (waiting("CrashLoopBackOff"), json!([]), None),
            (unscheduled, json!([]), Some(("Unschedulable: 0/1", false))),
            (json!({"phase": "Failed"}), json!([]), None),
        ] {
            let found = look(&status, &events);
            let found = found.as_ref().map(|t| (t.why.as_str(), t.at_once));
            assert_eq!(found, want, "{status} {events}");
        }
    }

    #[test]
    fn patience_begins_anew() {
        let mut patience = Patience::new(Duration::from_secs(10));
        let id: Id = ("pod", String::new(), "a".to_owned());
        let trouble = |at_once| BTreeMap::from([(id.clone(), Trouble { why: "w".to_owned(), at_once })]);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(patience.lost(at(0), trouble(false)).is_empty());
        assert_eq!(patience.lost(at(1), trouble(true)).len(), 1);
        assert!(patience.lost(at(9), trouble(false)).is_empty());
        assert!(patience.lost(at(10), BTreeMap::new()).is_empty());
        assert!(patience.lost(at(11), trouble(false)).is_empty(), "it had begun meanwhile");
        assert_eq!(patience.lost(at(21), trouble(false)).len(), 1);
    }
}
