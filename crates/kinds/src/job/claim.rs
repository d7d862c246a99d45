//! Whose turn it is and whose Pods are whose: a Job with what it controls and may take, or a Pod that no Job counts.
//!
//! Invariants: a Pod that carries the tracking finalizer loses it as soon as there is no Job any more that will count it;
//! the Pods of a Job that another controller manages are that controller's.

use std::borrow::Cow;

use base::Timestamp;
use base::labels::Selector;
use serde::Deserialize;
use serde_json::Value;

use super::pods::{FINALIZER, claimant, unfinalize};
use super::reconcile::manage;
use super::view::JobView;
use crate::plan::{Plan, Write};
use crate::pod::KIND as PODS;
use crate::view::PodView;

/// What a turn is about.
#[derive(Debug)]
pub enum Observed {
    /// A Job.
    Job {
        /// As stored.
        job: Value,
        /// The Pods that it controls, and those without a controller that it selects.
        pods: Vec<PodView>,
    },
    /// A Pod that perhaps no Job counts.
    Stray(Box<Stray>),
}

/// Such a Pod.
#[derive(Debug)]
pub struct Stray {
    /// The Pod.
    pub pod: PodView,
    /// The Job that controls it, if that is there.
    pub job: Option<JobView>,
    /// Jobs that select it.
    pub adopters: Vec<JobView>,
}

/// Decides.
///
/// # Errors
/// If the stored Job does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    match observed {
        Observed::Job { job, pods } => turn_of_job(now, job, pods),
        Observed::Stray(stray) => {
            let mut plan = Plan::default();
            plan.stage(stray.is_lost().then(|| unfinalize(&stray.pod)).into_iter().collect());
            Ok(plan)
        }
    }
}

impl Stray {
    /// Whether it waits to be counted and nobody will.
    fn is_lost(&self) -> bool {
        let takes = |job: &JobView| job.is_ours() && job.end().is_none() && !job.metadata.deleting();
        let counted = match (self.pod.metadata.controller(), &self.job) {
            (Some(owner), _) if !owner.is_a(&super::KIND) => true,
            (Some(_), Some(job)) => !job.is_ours() || job.end().is_none(),
            (Some(_), None) => false,
            (None, _) => !self.pod.metadata.deleting() && self.adopters.iter().any(takes),
        };
        self.pod.metadata.has_finalizer(FINALIZER) && !counted
    }
}

fn turn_of_job(now: Timestamp, stored: &Value, pods: &[PodView]) -> Result<Plan, serde_json::Error> {
    let job = JobView::deserialize(stored)?;
    let mut plan = Plan::default();
    if !job.is_ours() {
        return Ok(plan);
    }
    if job.end().is_some() && !job.metadata.deleting() {
        // What came too late is not counted any more.
        let late = pods.iter().filter(|p| p.metadata.has_finalizer(FINALIZER));
        plan.stage(late.map(unfinalize).collect());
        return Ok(plan);
    }
    let (mine, claims) = claim(&job, pods)?;
    let managed = manage(now, &job, stored, &mine);
    plan.stage(claims);
    plan.stages.extend(managed.stages);
    Ok(Plan { stages: plan.stages, ..managed })
}

/// Its Pods, and the writes that make it so.
fn claim<'a>(
    job: &JobView,
    pods: &'a [PodView],
) -> Result<(Cow<'a, [PodView]>, Vec<Write>), serde_json::Error> {
    let selector: Option<Selector> = job.selector().map_err(serde::de::Error::custom)?;
    let Some(selector) = selector else { return Ok((Cow::Borrowed(pods), Vec::new())) };
    let claimed = claimant(job, &selector).claim(&PODS, pods.iter().collect(), |pod| &pod.metadata);
    let mine = if claimed.mine.len() == pods.len() {
        Cow::Borrowed(pods)
    } else {
        Cow::Owned(claimed.mine.into_iter().cloned().collect())
    };
    Ok((mine, claimed.writes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Action;

    fn job(uid: &str, what: &str) -> Value {
        let ended = json!([{"type": "Complete", "status": "True"}]);
        json!({
            "metadata": {"name": "j", "namespace": "n", "uid": uid,
                "deletionTimestamp": if what == "deleting" { json!("2026-01-01T00:00:00Z") } else { Value::Null }},
            "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "selector": {"matchLabels": {"app": "j"}},
                "managedBy": if what == "foreign" { json!("example.com/other") } else { Value::Null },
                "template": {"spec": {}}},
            "status": {"conditions": if what == "ended" { ended } else { json!([]) }},
        })
    }

    fn pod(name: &str, owner: &str, label: &str, tracked: bool) -> PodView {
        let (api_version, kind) =
            if owner == "set" { ("apps/v1", "ReplicaSet") } else { ("batch/v1", "Job") };
        let owner =
            json!({"apiVersion": api_version, "kind": kind, "name": "j", "uid": owner, "controller": true});
        let owners = if owner["uid"] == "" { json!([]) } else { json!([owner]) };
        let finalizers = if tracked { json!([FINALIZER]) } else { json!([]) };
        let meta = json!({"name": name, "namespace": "n", "uid": name, "labels": {"app": label},
            "ownerReferences": owners, "finalizers": finalizers});
        serde_json::from_value(json!({"metadata": meta, "status": {"phase": "Running"}})).unwrap()
    }

    fn show(observed: &Observed) -> String {
        let plan = reconcile(Timestamp::from_seconds(0), observed).unwrap();
        let text = |w: &Write| match &w.action {
            Action::Create(_) => "create".to_owned(),
            Action::Update(job) => format!("status {}", job["status"]["active"]),
            Action::Delete(_) => format!("delete {}", w.name),
            Action::Strategic(patch) => {
                let owners = &patch["metadata"]["ownerReferences"][0];
                let deed = match owners {
                    Value::Null => "uncount",
                    owner if owner["$patch"] == "delete" => "release",
                    _ => "adopt",
                };
                format!("{deed} {}", w.name)
            }
            other => panic!("{other:?}"),
        };
        plan.stages.iter().flatten().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn of_a_job() {
        let mine = || pod("m", "u", "j", true);
        for (what, pods, want) in [
            ("", vec![mine()], "status 1"),
            ("", vec![mine(), pod("s", "u", "x", true)], "release s status 1"),
            ("", vec![pod("o", "", "j", false)], "adopt o status 1"),
            ("", vec![pod("s", "u", "x", true)], "release s create status 1"),
            ("ended", vec![mine(), pod("o", "", "j", false), pod("c", "u", "j", false)], "uncount m"),
            ("foreign", vec![mine(), pod("s", "u", "x", true), pod("o", "", "j", false)], ""),
            ("deleting", vec![mine(), pod("o", "", "j", true)], "status 1 uncount m"),
        ] {
            let names: Vec<_> = pods.iter().map(|p| p.metadata.name.clone()).collect();
            let observed = Observed::Job { job: job("u", what), pods };
            assert_eq!(show(&observed), want, "{what} {names:?}");
        }
    }

    #[test]
    fn of_a_pod_that_waits_to_be_counted() {
        let view = |what: &str| serde_json::from_value::<JobView>(job("u", what)).unwrap();
        for (owner, job, adopters, want) in [
            ("u", None, vec![], "uncount p"),
            ("u", Some(""), vec![], ""),
            ("u", Some("ended"), vec![], "uncount p"),
            ("u", Some("foreign"), vec![], ""),
            ("set", None, vec![], ""),
            ("", None, vec![], "uncount p"),
            ("", None, vec![""], ""),
            ("", None, vec!["ended", "deleting", "foreign"], "uncount p"),
        ] {
            let pod = pod("p", owner, "j", true);
            let adopters_views = adopters.iter().map(|what| view(what)).collect();
            let stray = Stray { pod, job: job.map(view), adopters: adopters_views };
            let observed = Observed::Stray(Box::new(stray));
            assert_eq!(show(&observed), want, "{owner} {job:?} {adopters:?}");
        }
        let counted = Stray { pod: pod("p", "u", "j", false), job: None, adopters: Vec::new() };
        assert_eq!(show(&Observed::Stray(Box::new(counted))), "");
    }
}
