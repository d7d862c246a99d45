//! The API's Pods of this node, watched; started again whenever the watch ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Change, Objects, Options, Status, WatchEvent};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use super::Update;
use crate::calls;

/// Between two watches, doubled from one that fails to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Watches until the node ends.
pub(crate) async fn run(api: Arc<dyn Objects>, node: String, updates: mpsc::Sender<Update>) {
    let mut delay = FIRST_PAUSE;
    loop {
        match watch(&*api, &node, &updates, &mut delay).await {
            Ok(()) => return,
            Err(e) => tracing::info!("the watch of Pods ended, another one begins: {e}"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(10));
        if updates.is_closed() {
            return;
        }
    }
}

/// One watch, from the list on; `Ok` when nobody listens any more. Once the list is complete, the next pause is short
/// again.
async fn watch(
    api: &dyn Objects,
    node: &str,
    updates: &mpsc::Sender<Update>,
    pause: &mut Duration,
) -> Result<(), Status> {
    let options = Options { field_selector: format!("spec.nodeName={node}"), ..Options::default() };
    let mut watch = api.watch(calls::target(calls::PODS, "", ""), options).await?;
    let mut listed = Some(BTreeSet::new());
    loop {
        for event in watch.next().await? {
            let Some(update) = translate(event, &mut listed) else { continue };
            if matches!(update, Update::Synced(_)) {
                *pause = FIRST_PAUSE;
            }
            if updates.send(update).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn translate(event: WatchEvent, listed: &mut Option<BTreeSet<String>>) -> Option<Update> {
    if event.change == Change::Synced {
        return listed.take().map(Update::Synced);
    }
    let object = event.object?;
    let uid = object.facts.uid.to_string();
    if event.change == Change::Deleted {
        return Some(Update::Gone(uid));
    }
    // Also what cannot be read is there.
    if let Some(listed) = listed {
        listed.insert(uid);
    }
    let pod: Pod = match object.parse() {
        Ok(pod) => pod,
        Err(e) => {
            tracing::error!("Pod {}/{} is unreadable: {e}", object.namespace, object.name);
            return None;
        }
    };
    (event.change != Change::Bookmark).then(|| Update::Pod(Arc::new(pod)))
}
