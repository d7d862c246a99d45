//! The autoscaler: every fifteen seconds what is measured is compared with what is aimed at; what it decides is
//! `kinds::horizontalpodautoscaler::scaling`.
//!
//! Invariants: what it remembers of an autoscaler (recommendations, changes) is forgotten with it and by a restart, as upstream;
//! its own writes wake no turn of their own. Absent: the APIs of custom and external metrics, which nobody brings here, so
//! what asks for them is told that they are not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use base::labels::Selector;
use client::{Answer, Delta, Gvr, Options, Status, Target, Verb};
use kinds::horizontalpodautoscaler::KIND as AUTOSCALERS;
use kinds::horizontalpodautoscaler::scaling::{
    CountedPod, HpaView, Memory, Observed, Query, Reading, Rescale, ScaleView, TargetRef, asks_metrics,
    decide, of_resource, queries,
};
use kinds::metrics::PODS as USAGE;
use kinds::plan::{Action, Plan, Write};
use kinds::pod::KIND as PODS;
use kinds::{Catalogue, Kind};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::context::{Context, gvr, plain, target};
use crate::driver::{Controller, Failure, Key, Turn};
use crate::reconcile::{Reads, resources};

const PERIOD: Duration = Duration::from_secs(15);

/// The controller.
#[derive(Default)]
pub(crate) struct Autoscaler(Mutex<HashMap<Key, Known>>);

/// What is known of an autoscaler from its last turn.
#[derive(Clone, Default)]
struct Known {
    memory: Memory,
    /// Its spec then, and when it is looked at again if that is still it.
    spec: Value,
    due: Timestamp,
    /// What its target selected.
    selector: String,
}

/// The Scale of a target: of which kind, as it is, and what is read of it.
type Scaled = (Arc<Kind>, Value, ScaleView);

impl Autoscaler {
    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which autoscalers of a namespace count one of these Pods, this one included.
    fn rivals(&self, key: &Key, pods: &[PodLabels]) -> Vec<(String, String)> {
        let counts = |known: &Known| {
            let selector = Selector::parse(&known.selector).ok().filter(|_| !known.selector.is_empty());
            selector.is_some_and(|selector| pods.iter().any(|labels| selector.matches(labels)))
        };
        let known = self.known();
        let rivals = known.iter().filter(|(other, known)| other.namespace == key.namespace && counts(known));
        let mut names: Vec<_> = rivals.map(|(k, _)| (k.name.to_string(), k.namespace.to_string())).collect();
        names.sort();
        names
    }
}

type PodLabels = BTreeMap<String, String>;

#[async_trait]
impl Controller for Autoscaler {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&AUTOSCALERS])
    }

    fn keys(&self, _: &Context, delta: &Delta) -> Vec<Key> {
        vec![Key::of(delta)]
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let Some(hpa) = context.read::<Value>(&AUTOSCALERS, &key.namespace, &key.name)? else {
            self.known().remove(key);
            return Ok(None);
        };
        let now = context.now();
        let mut known = self.known().get(key).cloned().unwrap_or_default();
        if known.spec == hpa["spec"] && known.due > now {
            return Ok(Some(known.due));
        }
        let view = HpaView::deserialize(&hpa)?;
        let scale = read_scale(context, &view).await;
        known.spec = hpa["spec"].clone();
        known.due = now + PERIOD;
        known.selector =
            scale.as_ref().map_or_else(|_| String::new(), |(.., scale)| scale.status.selector.clone());
        self.known().insert(key.clone(), known.clone());
        let (observed, scaled) = self.observe(context, key, (hpa, view), scale).await?;
        let turn = decide(now, &observed, &mut known.memory);
        let outcome = match (&turn.rescale, scaled) {
            (Some(rescale), Some((kind, scale))) => write_scale(context, (&kind, scale), rescale).await,
            _ => Ok(()),
        };
        let plan = turn.finish(&observed, outcome, &mut known.memory);
        let due = known.due;
        self.known().insert(key.clone(), known);
        context.execute(plan).await?;
        Ok(Some(due))
    }
}

impl Autoscaler {
    /// Everything that a turn looks at, and the Scale to write.
    async fn observe(
        &self,
        context: &Context,
        key: &Key,
        (hpa, view): (Value, HpaView),
        scale: Result<Scaled, String>,
    ) -> Result<(Observed, Option<(Arc<Kind>, Value)>), Failure> {
        let mut observed = Observed {
            hpa,
            view,
            scale: Err(String::new()),
            pods: Vec::new(),
            rivals: Vec::new(),
            readings: Vec::new(),
        };
        let (kind, object, scale) = match scale {
            Ok(scaled) => scaled,
            Err(why) => {
                observed.scale = Err(why);
                return Ok((observed, None));
            }
        };
        let selector = &scale.status.selector;
        if asks_metrics(&observed.view, &scale) && !selector.is_empty() {
            if let Ok(parsed) = Selector::parse(selector) {
                let pods: Vec<Value> = Reads::of(context).matching(&PODS, &key.namespace, &parsed)?;
                let labels = |pod: &Value| {
                    serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default()
                };
                observed.rivals = self.rivals(key, &pods.iter().map(labels).collect::<Vec<_>>());
                observed.pods = pods.iter().map(CountedPod::deserialize).collect::<Result<_, _>>()?;
            }
            for query in queries(&observed.view) {
                observed.readings.push(read(context, &key.namespace, selector, &query).await);
            }
        }
        observed.scale = Ok(scale);
        Ok((observed, Some((kind, object))))
    }
}

/// The Scale of what an autoscaler names: of the first version of its kind that has one.
async fn read_scale(context: &Context, hpa: &HpaView) -> Result<Scaled, String> {
    let TargetRef { api_version, kind, name } = &hpa.spec.scale_target_ref;
    let group = match api_version.split('/').collect::<Vec<_>>()[..] {
        [group, _] => group,
        [_] => "",
        _ => return Err(format!("unexpected GroupVersion string: {api_version}")),
    };
    let catalogue = context.snapshots.catalogue();
    let candidates = catalogue.iter().filter(|k| k.group == group && k.kind == *kind);
    let mut first = None;
    for candidate in candidates {
        let read = plain(target(candidate, &hpa.metadata.namespace, name, "scale"), Verb::Get);
        let answer = context.call(read).await.and_then(Answer::value).map_err(|status| status.message);
        let parsed = answer.and_then(|object| {
            let view = ScaleView::deserialize(&object).map_err(|e| e.to_string())?;
            Ok((candidate.clone(), object, view))
        });
        match parsed {
            Ok(scaled) => return Ok(scaled),
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.unwrap_or_else(|| format!("no matches for kind {kind:?} in group {group:?}")))
}

async fn write_scale(
    context: &Context,
    (kind, mut scale): (&Arc<Kind>, Value),
    rescale: &Rescale,
) -> Result<(), String> {
    scale["spec"] = json!({"replicas": rescale.replicas});
    let meta = |field: &str| scale["metadata"][field].as_str().unwrap_or_default().to_owned();
    let write =
        Write::new(kind, &meta("namespace"), &meta("name"), Action::Update(scale.clone())).through("scale");
    let plan = Plan { stages: vec![vec![write]], ..Plan::default() };
    context.carry_out(plan).await.map(|_| ()).map_err(|refused| refused.status.message)
}

/// What is measured.
async fn read(context: &Context, namespace: &str, selector: &str, query: &Query) -> Result<Reading, String> {
    match query {
        Query::Resource { name, container } => {
            let target = Target {
                gvr: gvr(&USAGE),
                namespace: namespace.to_owned(),
                name: String::new(),
                subresource: String::new(),
            };
            let options = Options { label_selector: selector.to_owned(), ..Options::default() };
            let list = context.call(client::Call { target, verb: Verb::List, options }).await;
            let told = |status: Status| {
                format!("unable to fetch metrics from resource metrics API: {}", status.message)
            };
            of_resource(&list.and_then(Answer::value).map_err(told)?, name, container)
        }
        Query::Pods { .. } | Query::Object { .. } => {
            Err("unable to fetch metrics from custom metrics API: no custom \
            metrics API (custom.metrics.k8s.io) registered"
                .to_owned())
        }
        Query::External { name } => Err(format!(
            "unable to fetch metrics from external metrics API: the server could not find the requested resource (get \
             {name}.external.metrics.k8s.io)"
        )),
        Query::Unknown => Err("no such type of metric".to_owned()),
    }
}
