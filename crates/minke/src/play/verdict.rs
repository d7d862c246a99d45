//! When a play is over, and with which exit code. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::trouble::Id;
use super::{State, Wanted, statuses};

/// What a look at all Pods and Jobs says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Waiting,
    /// Everything runs, and that was all that was asked.
    Running,
    /// Everything ended; the exit code is 0 or that of the first failing container.
    Ended(u8),
    /// Something can never begin, and nothing else will end by itself.
    InVain,
}

/// Judges the present state; `lost` is what can never begin.
pub fn verdict(wanted: &Wanted, state: &State, until_running: bool, lost: &BTreeMap<Id, String>) -> Verdict {
    let pods: Vec<Option<&Pod>> = wanted.pods.iter().map(|key| state.pods.get(key)).collect();
    let jobs: Vec<Option<&Job>> = wanted.jobs.iter().map(|key| state.jobs.get(key)).collect();
    if until_running
        && pods.iter().all(|p| p.is_some_and(running))
        && jobs.iter().all(|j| j.is_some_and(|j| job_runs(j, state)))
    {
        return Verdict::Running;
    }
    let over = pods.iter().all(|p| p.is_some_and(terminal))
        && jobs.iter().all(|j| j.is_some_and(|j| finished(j).is_some()));
    if !over {
        let in_vain = !lost.is_empty() && (until_running || !may_end(wanted, state, lost));
        return if in_vain { Verdict::InVain } else { Verdict::Waiting };
    }
    let pod_codes = pods.iter().flatten().filter(|p| phase(p) == "Failed").map(|p| exit_code(p));
    let job_codes = jobs
        .iter()
        .flatten()
        .filter(|j| finished(j) == Some(false))
        .map(|j| owned(j, state).map(exit_code).max().unwrap_or(1));
    Verdict::Ended(pod_codes.chain(job_codes).next().unwrap_or(0))
}

/// Whether something goes on that will come to an end by itself.
fn may_end(wanted: &Wanted, state: &State, lost: &BTreeMap<Id, String>) -> bool {
    let alive = |kind: &'static str, key: &(String, String)| {
        !lost.contains_key(&(kind, key.0.clone(), key.1.clone()))
    };
    let ends = |pod: &Pod| {
        let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
        !terminal(pod) && policy.is_some_and(|policy| policy != "Always")
    };
    let pods = wanted.pods.iter().filter(|key| alive("pod", key)).filter_map(|key| state.pods.get(key));
    let jobs = wanted.jobs.iter().filter(|key| alive("job", key)).filter_map(|key| state.jobs.get(key));
    pods.into_iter().any(ends) || jobs.into_iter().any(|job| finished(job).is_none())
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Whether a Pod is over.
pub fn terminal(pod: &Pod) -> bool {
    kinds::rules::phase::is_finished(phase(pod))
}

fn running(pod: &Pod) -> bool {
    let ready = |s: &k8s_openapi::api::core::v1::PodStatus| {
        s.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    terminal(pod) || phase(pod) == "Running" && pod.status.as_ref().is_some_and(ready)
}

fn job_runs(job: &Job, state: &State) -> bool {
    finished(job).is_some() || owned(job, state).any(running)
}

/// Whether a Job is over, and whether it succeeded.
pub fn finished(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().filter(|c| c.status == "True").find_map(|c| match c.type_.as_str() {
        "Complete" => Some(true),
        "Failed" => Some(false),
        _ => None,
    })
}

/// The Pods of a Job.
pub fn owned<'a>(job: &'a Job, state: &'a State) -> impl Iterator<Item = &'a Pod> {
    let mine = |pod: &&Pod| {
        pod.metadata.owner_references.iter().flatten().any(|o| Some(&o.uid) == job.metadata.uid.as_ref())
    };
    state.pods.values().filter(mine)
}

/// The exit code of the first container that failed; 1 if the Pod failed without one.
fn exit_code(pod: &Pod) -> u8 {
    statuses(pod)
        .filter_map(|s| s.state.as_ref()?.terminated.as_ref())
        .map(|t| t.exit_code)
        .find(|code| *code != 0)
        .map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(phase: &str, code: i32) -> (Wanted, State) {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {"containers": [], "restartPolicy": "Never"},
            "status": {"phase": phase,
                "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" }}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": code}}}]},
        }))
        .unwrap();
        let key = ("default".to_owned(), "a".to_owned());
        (
            Wanted { pods: [key.clone()].into(), ..Wanted::default() },
            State { pods: [(key, pod)].into(), ..State::default() },
        )
    }

    #[test]
    fn pods() {
        for (phase, code, until_running, want) in [
            ("Pending", 0, false, Verdict::Waiting),
            ("Running", 0, false, Verdict::Waiting),
            ("Running", 0, true, Verdict::Running),
            ("Succeeded", 0, false, Verdict::Ended(0)),
            ("Failed", 7, false, Verdict::Ended(7)),
            ("Failed", 0, false, Verdict::Ended(1)),
        ] {
            let (wanted, state) = state(phase, code);
            assert_eq!(verdict(&wanted, &state, until_running, &BTreeMap::new()), want, "{phase} {code}");
        }
    }

    #[test]
    fn what_is_lost_ends_the_play_when_nothing_else_can() {
        let (mut wanted, mut state) = state("Running", 0);
        let broken = ("default".to_owned(), "broken".to_owned());
        wanted.pods.insert(broken.clone());
        state.pods.insert(broken, Pod::default());
        let lost = BTreeMap::from([(("pod", "default".to_owned(), "broken".to_owned()), "why".to_owned())]);
        assert_eq!(verdict(&wanted, &state, false, &BTreeMap::new()), Verdict::Waiting);
        assert_eq!(verdict(&wanted, &state, false, &lost), Verdict::Waiting, "the other one will end");
        assert_eq!(verdict(&wanted, &state, true, &lost), Verdict::InVain, "never will all run");
        for pod in state.pods.values_mut() {
            pod.spec.get_or_insert_default().restart_policy = Some("Always".to_owned());
        }
        assert_eq!(verdict(&wanted, &state, false, &lost), Verdict::InVain, "the other one never ends");
    }
}
