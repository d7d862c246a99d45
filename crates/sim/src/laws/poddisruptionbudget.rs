//! A Pod that was well is evicted only if its budget allowed one more disruption and wrote down that it is this Pod's; in
//! the end a budget tells of the Pods that there are.
//!
//! Absent: budgets whose spec changes, and selectors other than by one label `app`; the worlds make none.

use std::collections::{BTreeMap, BTreeSet};

use super::{Law, Version, is_deleting, number, text};

#[derive(Debug, Default)]
struct Budget {
    app: String,
    least: i64,
    /// Pods that it has let go, by name.
    disrupted: BTreeSet<String>,
    allowed: i64,
    healthy: i64,
    gone: bool,
}

/// A Pod as it was last.
#[derive(Debug, Default)]
struct Seen {
    app: String,
    ready: bool,
    running: bool,
    evicted: bool,
    leaving: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    budgets: BTreeMap<String, Budget>,
    pods: BTreeMap<String, Seen>,
}

impl Law for Budgets {
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        match version.bucket {
            "poddisruptionbudgets.policy" => self.budget(version, found),
            "pods" => self.pod(version, found),
            _ => {}
        }
    }

    fn rest(&self, found: &mut Vec<String>) {
        for (name, budget) in self.budgets.iter().filter(|(_, b)| !b.gone) {
            let well = |p: &&Seen| p.app == budget.app && p.ready && !p.leaving;
            let well = i64::try_from(self.pods.values().filter(well).count()).unwrap_or(i64::MAX);
            let allowed = (well - budget.least).max(0);
            if (budget.healthy, budget.allowed) != (well, allowed) {
                let told = (budget.healthy, budget.allowed);
                found.push(format!("budget {name} tells of {told:?} for {:?}", (well, allowed)));
            }
        }
    }
}

impl Budgets {
    fn budget(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        let object = version.object;
        let name = text(object, "/metadata/name").to_owned();
        let budget = self.budgets.entry(name.clone()).or_default();
        let disrupted = object.pointer("/status/disruptedPods").and_then(serde_json::Value::as_object);
        let disrupted: BTreeSet<String> =
            disrupted.into_iter().flatten().map(|(pod, _)| pod.clone()).collect();
        let more = disrupted.difference(&budget.disrupted).count();
        if i64::try_from(more).is_ok_and(|more| more > budget.allowed) {
            let (revision, allowed) = (version.revision, budget.allowed);
            found
                .push(format!("at revision {revision} budget {name} lets {more} Pods go, {allowed} at most"));
        }
        budget.disrupted = disrupted;
        text(object, "/spec/selector/matchLabels/app").clone_into(&mut budget.app);
        budget.least = number(object, "/spec/minAvailable");
        budget.allowed = number(object, "/status/disruptionsAllowed");
        budget.healthy = number(object, "/status/currentHealthy");
        budget.gone |= version.gone;
    }

    fn pod(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        let object = version.object;
        let uid = text(object, "/metadata/uid").to_owned();
        if version.gone {
            self.pods.remove(&uid);
            return;
        }
        let says = |kind: &str, reason: &str| {
            let all = object.pointer("/status/conditions").and_then(serde_json::Value::as_array);
            let holds = |c: &&serde_json::Value| c["type"] == kind && c["status"] == "True";
            let said = |c: &serde_json::Value| reason.is_empty() || c["reason"] == reason;
            all.into_iter().flatten().find(holds).is_some_and(said)
        };
        let before = self.pods.entry(uid).or_default();
        let now = Seen {
            app: text(object, "/metadata/labels/app").to_owned(),
            ready: says("Ready", ""),
            running: text(object, "/status/phase") == "Running",
            evicted: says("DisruptionTarget", "EvictionByEvictionAPI"),
            leaving: is_deleting(object),
        };
        let evicted = now.evicted && !before.evicted && before.running && before.ready && !before.leaving;
        let name = text(object, "/metadata/name");
        let mut mine = self.budgets.values().filter(|b| !b.gone && !b.app.is_empty() && b.app == now.app);
        if evicted && !mine.all(|b| b.disrupted.contains(name)) {
            found.push(format!("at revision {} Pod {name} is evicted at nobody's expense", version.revision));
        }
        *before = now;
    }
}
