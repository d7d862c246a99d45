//! The API without HTTP: [`Objects`] for one identity, [`Snapshots`] beside the store.
//!
//! Invariant: a call through [`Handle`] passes the same authorization, admission and validation as one over HTTPS.
//! [`View`] only reads.

use std::sync::Arc;

use async_trait::async_trait;
use client::{
    Call, Gvr, Identity, Object, Objects, Options, Owner, Snapshot, Snapshots, Status, Target, Verb, Wake,
    Wakes, Want, Watch, WatchEvent,
};
use futures_util::future::{FutureExt as _, select_all};
use kinds::{Catalogue, Kind};
use serde_json::Value;
use store::{Entry, RangeQuery, Store, Watcher};
use tokio::sync::watch;

use crate::audit::Trail;
use crate::generic::body::Body;
use crate::generic::watch::{Frame, Stream};
use crate::generic::{Answer, Ctx};
use crate::http::{attributes, find};
use crate::object;
use crate::remarks::Remarks;
use crate::request::{FieldValidation, Info, Params};
use crate::server::Server;
use crate::sub::{self, Action};

/// One identity's way in.
pub(crate) struct Handle {
    server: Arc<Server>,
    identity: Identity,
    manager: String,
}

impl Handle {
    pub(crate) fn new(server: Arc<Server>, identity: Identity, manager: &str) -> Self {
        Self { server, identity, manager: manager.to_owned() }
    }

    /// The call as a request, authorized, and its way past the auditor.
    fn admit<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        target: &Target,
        options: &Options,
        verb: &'static str,
    ) -> Result<(Ctx<'a>, Arc<Trail>), Status> {
        let params = self.params(options);
        let mut info = Info {
            verb,
            is_resource: true,
            group: target.gvr.group.clone(),
            version: target.gvr.version.clone(),
            resource: target.gvr.resource.clone(),
            subresource: target.subresource.clone(),
            rest: String::new(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            path: String::new(),
        };
        // As over HTTP, the name of what is created is in the object, not in the path.
        if verb == "create" && info.subresource.is_empty() {
            info.name.clear();
        }
        let kind = catalogue.by_resource(&info.group, &info.version, &info.resource);
        if kind.is_some_and(|kind| kind.is(&kinds::namespace::KIND)) {
            info.namespace.clone_from(&info.name);
        }
        if info.name.is_empty() && matches!(verb, "list" | "watch") {
            info.name = params.single_name().unwrap_or_default();
        }
        let trail = Trail::new(self.server.auditor(), &info);
        trail.received(&self.identity);
        let told = |status: Status| {
            trail.answered(status.code);
            status
        };
        let asked = attributes(catalogue, &info, &params);
        let refused = |why: String| Status::forbidden(&info.group, &info.resource, &info.name, &why);
        self.server.authorizer().check(&self.identity, &asked).map_err(refused).map_err(told)?;
        let (kind, sub) = find(catalogue, &info).map_err(told)?;
        let ctx = Ctx {
            server: &self.server,
            who: &self.identity,
            kind,
            sub,
            namespace: if kind.namespaced { target.namespace.clone() } else { String::new() },
            name: if verb == "create" { info.name.clone() } else { target.name.clone() },
            manager: params.field_manager.clone(),
            params,
            remarks: Remarks::default(),
        };
        Ok((ctx, trail))
    }

    fn params(&self, options: &Options) -> Params {
        let manager = if options.field_manager.is_empty() { &self.manager } else { &options.field_manager };
        Params {
            label_selector: options.label_selector.clone(),
            field_selector: options.field_selector.clone(),
            resource_version: options.resource_version.clone(),
            limit: options.limit,
            continue_token: options.continue_token.clone(),
            field_manager: manager.clone(),
            dry_run: options.dry_run,
            force: options.force.then_some(true),
            field_validation: if options.strict {
                FieldValidation::Strict
            } else {
                FieldValidation::default()
            },
            ..Params::default()
        }
    }
}

#[async_trait]
impl Objects for Handle {
    async fn call(&self, call: Call) -> Result<Value, Status> {
        let Call { target, verb, options } = call;
        let (name, action) = match verb {
            Verb::Get => ("get", Action::Get),
            Verb::List => ("list", Action::List),
            Verb::Create(value) => ("create", Action::Create(Body::Value(value))),
            Verb::Update(value) => ("update", Action::Update(Body::Value(value))),
            Verb::Patch(kind, text) => ("patch", Action::Patch(kind, text)),
            Verb::Delete(options) => ("delete", Action::Delete(options.map(Body::Value))),
            Verb::DeleteCollection(options) => {
                ("deletecollection", Action::DeleteCollection(options.map(Body::Value)))
            }
        };
        let catalogue = self.server.catalogue();
        let (ctx, trail) = self.admit(&catalogue, &target, &options, name)?;
        let answer = sub::execute(&ctx, action).await;
        trail.noted(ctx.remarks.notes());
        trail.answered(answer.as_ref().map_or_else(|status| status.code, Answer::code));
        for warning in ctx.remarks.warnings() {
            tracing::debug!(warning, user = self.identity.name, "API");
        }
        Ok(answer?.into_value())
    }

    async fn watch(&self, target: Target, options: Options) -> Result<Box<dyn Watch>, Status> {
        let catalogue = self.server.catalogue();
        let (ctx, trail) = self.admit(&catalogue, &target, &options, "watch")?;
        let stream = Stream::open(&ctx).await;
        trail.answered(stream.as_ref().map_or_else(|status| status.code, |_| 200));
        Ok(Box::new(Watching(stream?, trail)))
    }
}

/// A watch of [`Handle`]; the call is complete when it ends.
struct Watching(Stream, #[expect(dead_code, reason = "held, not read")] Arc<Trail>);

#[async_trait]
impl Watch for Watching {
    async fn next(&mut self) -> Result<Vec<WatchEvent>, Status> {
        let frames = self.0.next().await?;
        Ok(frames.into_iter().map(|frame| event(&self.0.kind, frame)).collect())
    }
}

fn event(kind: &Kind, frame: Frame) -> WatchEvent {
    let object = (!frame.value.is_empty()).then(|| {
        let (namespace, name) = object::split_key(&frame.key);
        Object {
            namespace: namespace.into(),
            name: name.into(),
            revision: frame.revision,
            json: object::wire_item(kind, &frame.value),
        }
    });
    WatchEvent { change: frame.change, object, revision: frame.revision }
}

/// Reads of the whole store.
pub(crate) struct View {
    store: Arc<dyn Store>,
    catalogue: watch::Receiver<Arc<Catalogue>>,
}

impl View {
    pub(crate) fn new(store: Arc<dyn Store>, catalogue: watch::Receiver<Arc<Catalogue>>) -> Self {
        Self { store, catalogue }
    }

    fn kind_of(&self, gvr: &Gvr) -> Option<Arc<Kind>> {
        let catalogue = self.catalogue.borrow();
        let kind = catalogue.by_resource(&gvr.group, &gvr.version, &gvr.resource)?;
        kind.is_stored().then(|| kind.clone())
    }
}

fn as_object(kind: &Kind, entry: &Entry) -> Object {
    let (namespace, name) = object::split_key(&entry.key);
    Object {
        namespace: namespace.into(),
        name: name.into(),
        revision: entry.revision,
        json: object::wire_item(kind, &entry.value),
    }
}

#[async_trait]
impl Snapshots for View {
    fn snapshot(&self, wants: &[Want]) -> Snapshot {
        let kinds: Vec<Option<Arc<Kind>>> = wants.iter().map(|w| self.kind_of(&w.gvr)).collect();
        // A kind that is not served is an empty set: no key begins with "/".
        let prefixes: Vec<String> = kinds
            .iter()
            .zip(wants)
            .map(|(kind, want)| {
                kind.as_ref().map_or_else(|| "/".to_owned(), |kind| object::prefix(kind, &want.namespace))
            })
            .collect();
        let borrowed: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let (revision, sets) = self.store.read(&borrowed);
        let sets = sets
            .iter()
            .zip(&kinds)
            .map(|(set, kind)| {
                kind.as_ref().map(|kind| set.iter().map(|e| as_object(kind, e)).collect()).unwrap_or_default()
            })
            .collect();
        Snapshot { revision, sets }
    }

    fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object> {
        let kind = self.kind_of(gvr)?;
        let entry = self.store.get(&object::key(&kind, namespace, name))?;
        Some(as_object(&kind, &entry))
    }

    async fn wait_for(&self, revision: u64) {
        self.store.wait_for(revision).await;
    }

    async fn barrier(&self) -> Result<(), Status> {
        let revision = self.store.barrier().await.map_err(Status::internal)?;
        self.store.wait_for(revision).await;
        Ok(())
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.borrow().clone()
    }

    async fn catalogue_after(&self, generation: u64) -> Arc<Catalogue> {
        let mut catalogue = self.catalogue.clone();
        let newer = catalogue.wait_for(|current| current.generation() > generation).await.map(|c| c.clone());
        match newer {
            Ok(newer) => newer,
            // The server is gone and with it all change.
            Err(_) => std::future::pending().await,
        }
    }

    fn wakes(&self, gvrs: &[Gvr]) -> Box<dyn Wakes> {
        let kinds = gvrs.iter().filter_map(|gvr| self.kind_of(gvr).map(|kind| (gvr.clone(), kind)));
        let sources =
            kinds.map(|(gvr, kind)| Source { gvr, kind, store: self.store.clone(), watcher: None }).collect();
        Box::new(Alarm { sources, waiting: Vec::new() })
    }
}

/// One resource's wake-ups.
struct Source {
    gvr: Gvr,
    kind: Arc<Kind>,
    store: Arc<dyn Store>,
    /// `None` before the first look and after a lost position: everything is woken.
    watcher: Option<Box<dyn Watcher>>,
}

impl Source {
    /// The next wake-ups; may be empty.
    async fn next(&mut self) -> Vec<Wake> {
        let Some(watcher) = &mut self.watcher else { return self.everything() };
        match watcher.next().await {
            Ok(events) => events.iter().map(|e| self.wake(&e.entry)).collect(),
            Err(e) => {
                tracing::debug!(error = %e, resource = self.gvr.resource, "wake-ups begin again");
                self.watcher = None;
                self.everything()
            }
        }
    }

    fn everything(&mut self) -> Vec<Wake> {
        let query = RangeQuery { prefix: &object::prefix(&self.kind, ""), ..RangeQuery::default() };
        let Ok(page) = self.store.range(&query) else { return Vec::new() };
        match self.store.watch(&self.kind.bucket, page.revision) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(e) => tracing::error!(error = %e, resource = self.gvr.resource, "watch"),
        }
        page.entries.iter().map(|e| self.wake(e)).collect()
    }

    fn wake(&self, entry: &Entry) -> Wake {
        let (namespace, name) = object::split_key(&entry.key);
        let owners = object::head(&entry.value)
            .metadata
            .owner_references
            .into_iter()
            .map(|o| Owner {
                group: o.api_version.split_once('/').map_or_else(String::new, |(group, _)| group.into()),
                kind: o.kind,
                name: o.name,
                uid: o.uid,
                controller: o.controller.unwrap_or(false),
            })
            .collect();
        Wake { gvr: self.gvr.clone(), namespace: namespace.into(), name: name.into(), owners }
    }
}

/// All sources of one driver.
struct Alarm {
    sources: Vec<Source>,
    /// Woken but not yet handed out.
    waiting: Vec<Wake>,
}

#[async_trait]
impl Wakes for Alarm {
    async fn next(&mut self) -> Vec<Wake> {
        for source in self.sources.iter_mut().filter(|s| s.watcher.is_none()) {
            let wakes = source.everything();
            self.waiting.extend(wakes);
        }
        while self.waiting.is_empty() {
            if self.sources.is_empty() {
                std::future::pending::<()>().await;
            }
            let next = select_all(self.sources.iter_mut().map(|s| s.next().boxed()));
            let (wakes, ..) = next.await;
            self.waiting.extend(wakes);
        }
        std::mem::take(&mut self.waiting)
    }
}
