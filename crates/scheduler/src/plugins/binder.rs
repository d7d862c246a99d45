//! `DefaultBinder`: a Binding, posted to the Pod.

use kinds::plan::{Action, Write};
use serde_json::json;

use crate::plugin::{Plugin, Points};
use crate::pod::PodInfo;

/// See the module.
#[derive(Debug)]
pub(crate) struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn points(&self) -> Points {
        Points::BIND
    }

    fn bind(&self, pod: &PodInfo, node: &str) -> Option<Write> {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": &*pod.name, "namespace": &*pod.namespace, "uid": &*pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let write = Write::new(&kinds::pod::KIND, &pod.namespace, &pod.name, Action::Create(binding));
        Some(write.through("binding"))
    }
}
