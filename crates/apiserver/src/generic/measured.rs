//! Kinds that are measured: what nodes say, when it is asked for, of the nodes and Pods that are there.
//!
//! Invariant: nothing is stored; only those nodes are asked that have what is asked for, all at once; one that does not
//! answer is left out, as is a Pod that does not run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Status;
use futures_util::future::join_all;
use kinds::Kind;
use kinds::metrics::{Figures, of_node, of_pod};
use serde_json::{Value, json};
use store::{Entry, RangeQuery};

use crate::context::object;
use crate::generic::select::Selection;
use crate::generic::{Answer, Ctx};

/// Lists a collection.
pub(crate) async fn list(ctx: &Ctx<'_>) -> Result<Answer, Status> {
    let selection = Selection::parse(ctx.kind, &ctx.params.label_selector, &ctx.params.field_selector)?;
    let prefix = object::prefix(source(ctx.kind)?, &ctx.namespace);
    let query = RangeQuery { prefix: &prefix, ..RangeQuery::default() };
    let page = ctx.store().range(&query).map_err(|e| ctx.store_error(&e, "list"))?;
    let wanted = page.entries.into_iter().filter(|entry| selection.matches(entry)).collect();
    let items = measured(ctx, wanted).await?;
    let kind = format!("{}List", ctx.kind.kind);
    let value = json!({"kind": kind, "apiVersion": ctx.kind.api_version(), "metadata": {}, "items": items});
    Ok(Answer::Value { code: 200, value })
}

/// Reads one.
pub(crate) async fn get(ctx: &Ctx<'_>) -> Result<Answer, Status> {
    let source = source(ctx.kind)?;
    let entry = ctx.store().get(&object::key(source, &ctx.namespace, &ctx.name));
    let entry = entry.ok_or_else(|| Status::not_found(&source.group, &source.plural, &ctx.name))?;
    let mut made = measured(ctx, vec![entry]).await?;
    let value = made.pop().ok_or_else(|| {
        let name =
            if ctx.kind.namespaced { format!("{}/{}", ctx.namespace, ctx.name) } else { ctx.name.clone() };
        Status::not_found(&ctx.kind.group, &ctx.kind.kind.to_lowercase(), &name)
    })?;
    Ok(Answer::Value { code: 200, value })
}

/// The stored kind that is measured.
fn source(kind: &Kind) -> Result<&'static Arc<Kind>, Status> {
    kinds::built_in().by_resource("", "v1", &kind.plural).ok_or_else(Status::no_such_resource)
}

async fn measured(ctx: &Ctx<'_>, wanted: Vec<Arc<Entry>>) -> Result<Vec<Value>, Status> {
    let is_pods = ctx.kind.namespaced;
    let wanted: Vec<Arc<Entry>> = wanted
        .into_iter()
        .filter(|entry| !is_pods || entry.facts().field("status.phase") == "Running")
        .collect();
    let nodes: BTreeSet<String> = wanted.iter().map(|entry| node_of(entry, is_pods)).collect();
    let said = ask(ctx, nodes).await;
    let pods = by_name(&said);
    let now = ctx.now();
    let one = |entry: &Arc<Entry>| {
        let (namespace, name) = object::split_key(&entry.key);
        let metadata: Value = serde_json::from_str(object::raw_metadata(&entry.value).get()).ok()?;
        if is_pods {
            of_pod(&metadata, pods.get(&(namespace, name))?, now)
        } else {
            of_node(&metadata, said.get(name)?, now)
        }
    };
    Ok(wanted.iter().filter_map(one).collect())
}

fn node_of(entry: &Entry, is_pod: bool) -> String {
    let (_, name) = object::split_key(&entry.key);
    if is_pod { entry.facts().field("spec.nodeName").to_owned() } else { name.to_owned() }
}

/// What these nodes say.
async fn ask(ctx: &Ctx<'_>, nodes: BTreeSet<String>) -> BTreeMap<String, Figures> {
    let asked = nodes.into_iter().map(|name| async move {
        let node = ctx.core.services.find(("", "v1", "nodes"), "", &name)?;
        match ctx.core.services.gauge.read(&node).await {
            Ok(figures) => Some((name, figures)),
            Err(why) => {
                tracing::warn!(node = name, "has no figures: {why}");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn by_name(said: &BTreeMap<String, Figures>) -> BTreeMap<(&str, &str), &kinds::metrics::OfPod> {
    let pods = said.values().flat_map(|figures| &figures.pods);
    pods.map(|pod| ((pod.namespace.as_str(), pod.name.as_str()), pod)).collect()
}
