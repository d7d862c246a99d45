//! An extender: a service outside that filters, scores, chooses whom to preempt, or binds, asked over HTTP.
//!
//! Invariants: what is sent and how an answer reads is decided here, who sends it is the shell; an ignorable extender that
//! fails is as if it were not there, a failed score always. Keys are Go's field names, read in any case, as upstream's
//! decoder does. Upstream: `pkg/scheduler/extender.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::pod::PodInfo;

/// What an extender's answer to a score is multiplied by: it goes to 10, ours to 100.
pub(crate) const SCALE: i64 = 10;

/// One extender as it is configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extender {
    /// `urlPrefix`.
    pub url: String,
    /// `filterVerb`, may be empty, as all verbs.
    pub filter: String,
    /// `prioritizeVerb`.
    pub prioritize: String,
    /// `preemptVerb`.
    pub preempt: String,
    /// `bindVerb`.
    pub bind: String,
    /// `weight` of its scores.
    pub weight: i64,
    /// `httpTimeout`.
    pub timeout: Duration,
    /// It knows the nodes, so their names are enough.
    pub node_cache_capable: bool,
    /// Extended resources that it manages; with any it is asked only about Pods that want one. True if the scheduler
    /// itself does not look at it.
    pub managed: BTreeMap<String, bool>,
    /// `ignorable`.
    pub ignorable: bool,
    /// How HTTPS is spoken, if it is.
    pub tls: Option<Tls>,
}

/// `tlsConfig`, with what files hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whoever answers is believed.
    pub insecure: bool,
    /// The name that the certificate must have, if not the URL's.
    pub server_name: String,
    /// PEM of whom the extender's certificate must be from.
    pub ca: Vec<u8>,
    /// PEM of the own certificate.
    pub certificate: Vec<u8>,
    /// PEM of its key.
    pub key: Vec<u8>,
}

/// What is asked of one extender about one Pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Which extender, by its place in the configuration.
    pub extender: usize,
    /// The Pod.
    pub pod: Arc<PodInfo>,
    /// What.
    pub what: Question,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Which of these nodes fit.
    Filter(Vec<Arc<str>>),
    /// How good these nodes are.
    Prioritize(Vec<Arc<str>>),
    /// On which of these nodes, and without whom; the victims by node, and how many of them budgets protect.
    Preempt(BTreeMap<Arc<str>, (Vec<Arc<PodInfo>>, usize)>),
}

/// What an extender says about nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filtered {
    pub(crate) fit: Vec<String>,
    /// Others, with the reason; true if removing Pods could help.
    pub(crate) refused: BTreeMap<String, (String, bool)>,
}

/// Victims by node, by UID, and how many of them budgets protect.
pub(crate) type Preempted = BTreeMap<String, (Vec<String>, usize)>;

impl Extender {
    /// Whether it is asked about a Pod.
    #[must_use]
    pub fn is_interested(&self, pod: &PodInfo) -> bool {
        self.managed.is_empty() || pod.requests.scalar.keys().any(|name| self.managed.contains_key(name))
    }

    /// Where a question is sent.
    #[must_use]
    pub fn address(&self, what: &Question) -> String {
        self.at(match what {
            Question::Filter(_) => &self.filter,
            Question::Prioritize(_) => &self.prioritize,
            Question::Preempt(_) => &self.preempt,
        })
    }

    /// Where a binding is sent.
    #[must_use]
    pub fn binding_address(&self) -> String {
        self.at(&self.bind)
    }

    fn at(&self, verb: &str) -> String {
        format!("{}/{verb}", self.url.trim_end_matches('/'))
    }

    /// What is sent; `pod` and `node` give the API's objects.
    pub fn message(
        &self,
        what: &Question,
        pod: &impl Fn(&PodInfo) -> Value,
        asked: &PodInfo,
        node: &impl Fn(&str) -> Option<Value>,
    ) -> Value {
        match what {
            Question::Filter(names) | Question::Prioritize(names) => {
                let (mut nodes, mut node_names) = (Value::Null, Value::Null);
                if self.node_cache_capable {
                    node_names = names.iter().map(|n| json!(&**n)).collect();
                } else {
                    let items: Vec<Value> = names.iter().filter_map(|n| node(n)).collect();
                    nodes = json!({"metadata": {}, "items": items});
                }
                json!({"Pod": pod(asked), "Nodes": nodes, "NodeNames": node_names})
            }
            Question::Preempt(victims) => {
                let form = |(name, (pods, violations)): (&Arc<str>, &(Vec<Arc<PodInfo>>, usize))| {
                    let one = |p: &Arc<PodInfo>| match self.node_cache_capable {
                        true => json!({"UID": &*p.uid}),
                        false => pod(p),
                    };
                    let pods: Vec<Value> = pods.iter().map(one).collect();
                    (name.to_string(), json!({"Pods": pods, "NumPDBViolations": violations}))
                };
                let all: Map<String, Value> = victims.iter().map(form).collect();
                let (whole, meta) = match self.node_cache_capable {
                    true => (Value::Null, Value::Object(all)),
                    false => (Value::Object(all), Value::Null),
                };
                json!({"Pod": pod(asked), "NodeNameToVictims": whole, "NodeNameToMetaVictims": meta})
            }
        }
    }

    pub(crate) fn filtered(&self, asked: &[Arc<str>], answer: &Value) -> Result<Filtered, String> {
        failed(answer)?;
        let mut said = Filtered::default();
        let names = get(answer, "NodeNames").and_then(Value::as_array).filter(|_| self.node_cache_capable);
        let nodes = get(answer, "Nodes").and_then(|nodes| get(nodes, "items")).and_then(Value::as_array);
        let fit: Vec<&str> = match (names, nodes) {
            (Some(names), _) => names.iter().filter_map(Value::as_str).collect(),
            (None, Some(nodes)) => nodes.iter().filter_map(|n| n["metadata"]["name"].as_str()).collect(),
            (None, None) => Vec::new(),
        };
        for name in fit {
            if !asked.iter().any(|node| **node == *name) {
                return Err(format!(
                    "extender {:?} claims a filtered node {name:?} which is not found in the input node list",
                    self.url
                ));
            }
            said.fit.push(name.to_owned());
        }
        // The last word is about nodes that nothing can help.
        for (key, resolvable) in [("FailedNodes", true), ("FailedAndUnresolvableNodes", false)] {
            for (node, why) in get(answer, key).and_then(Value::as_object).into_iter().flatten() {
                said.refused.insert(node.clone(), (why.as_str().unwrap_or_default().to_owned(), resolvable));
            }
        }
        Ok(said)
    }

    pub(crate) fn scores(&self, answer: &Value) -> Result<BTreeMap<String, i64>, String> {
        let list = answer.as_array().ok_or_else(|| format!("extender {:?}: no list of scores", self.url))?;
        let one = |item: &Value| {
            let host = get(item, "Host")?.as_str()?.to_owned();
            Some((host, get(item, "Score").and_then(Value::as_i64).unwrap_or_default()))
        };
        Ok(list.iter().filter_map(one).collect())
    }

    pub(crate) fn preempted(&self, answer: &Value) -> Result<Preempted, String> {
        let mut said = Preempted::new();
        let nodes = get(answer, "NodeNameToMetaVictims").and_then(Value::as_object);
        for (node, victims) in nodes.into_iter().flatten() {
            let pods = get(victims, "Pods").and_then(Value::as_array).into_iter().flatten();
            let uids: Vec<String> = pods.filter_map(|p| get(p, "UID")?.as_str()).map(str::to_owned).collect();
            if uids.is_empty() {
                if self.ignorable {
                    continue;
                }
                return Err(format!("expected at least one victim pod on node {node:?}"));
            }
            let violations = get(victims, "NumPDBViolations").and_then(Value::as_u64).unwrap_or_default();
            said.insert(node.clone(), (uids, usize::try_from(violations).unwrap_or(usize::MAX)));
        }
        Ok(said)
    }
}

/// What is sent to have a Pod bound.
#[must_use]
pub fn binding(pod: &PodInfo, node: &str) -> Value {
    json!({"PodName": &*pod.name, "PodNamespace": &*pod.namespace, "PodUID": &*pod.uid, "Node": node})
}

/// Whether an answer tells of a failure.
///
/// # Errors
/// What it tells.
pub fn failed(answer: &Value) -> Result<(), String> {
    match get(answer, "Error").and_then(Value::as_str) {
        None | Some("") => Ok(()),
        Some(error) => Err(error.to_owned()),
    }
}

/// A field by Go's name, in any case.
fn get<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}
