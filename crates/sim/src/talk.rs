//! Short words for calls, and waiting for the API to show something: by a watch, never by sleeping.

use std::sync::Arc;
use std::time::Duration;

use client::{Call, Change, Gvr, Objects, Options, Status, Target, Verb, Watch, WatchEvent};
use serde_json::Value;

/// The longest wait in simulated time. With nothing else to do the clock jumps there at once.
const CEILING: Duration = Duration::from_secs(3600);

/// Names an object or a collection; the namespace is `default` for namespaced kinds.
#[must_use]
pub fn target(gvr: &Gvr, name: &str) -> Target {
    let namespace = if gvr.resource == "nodes" { "" } else { "default" };
    Target { gvr: gvr.clone(), namespace: namespace.into(), name: name.into(), subresource: String::new() }
}

/// One call.
///
/// # Errors
/// The API's.
pub async fn call(
    api: &Arc<dyn Objects>,
    kind: &Gvr,
    name: &str,
    subresource: &str,
    verb: Verb,
) -> Result<Value, Status> {
    let target = Target { subresource: subresource.into(), ..target(kind, name) };
    api.call(Call { target, verb, options: Options::default() }).await?.value()
}

/// A YAML manifest as JSON.
///
/// # Panics
/// If it is no YAML.
#[must_use]
pub fn json_of(manifest: &str) -> Value {
    let json = kinds::decode::yaml_to_json(manifest).expect("YAML");
    serde_json::from_slice(&json).expect("JSON made of YAML")
}

/// A watch of one collection, from its present objects on, read one event at a time.
pub struct Feed {
    what: String,
    watch: Box<dyn Watch>,
    waiting: std::collections::VecDeque<WatchEvent>,
}

impl Feed {
    /// Begins to watch what a field selector (empty: everything) matches.
    ///
    /// # Panics
    /// If the API refuses.
    pub async fn open(api: &Arc<dyn Objects>, kind: &Gvr, field_selector: &str) -> Self {
        let what = kind.resource.clone();
        let options = Options { field_selector: field_selector.into(), ..Options::default() };
        let watch = api.watch(target(kind, ""), options).await;
        let watch = watch.unwrap_or_else(|status| panic!("watch of {what}: {status}"));
        Self { what, watch, waiting: std::collections::VecDeque::new() }
    }

    /// The next event of an object.
    ///
    /// # Panics
    /// If none comes, or the watch ends.
    pub async fn next(&mut self) -> (Change, client::Object) {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                if let Some(object) = event.object {
                    return (event.change, object);
                }
            }
            let events = tokio::time::timeout(CEILING, self.watch.next()).await;
            let events = events.unwrap_or_else(|_| panic!("waited in vain for {}", self.what));
            self.waiting = events.expect("a watch of what is new does not end").into();
        }
    }

    /// Waits for an object of which `test` is true.
    ///
    /// # Panics
    /// If none comes, or the watch ends.
    pub async fn until(&mut self, test: impl Fn(Change, &Value) -> bool) -> Value {
        loop {
            let (change, object) = self.next().await;
            let value: Value = object.parse().expect("the API sends JSON");
            if test(change, &value) {
                return value;
            }
        }
    }
}
