//! [`Objects`] for one identity.
//!
//! Invariant: a call passes the same authorization, admission and validation as one over HTTPS.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Call, Identity, Object, Objects, Options, Status, Target, Verb, Watch, WatchEvent};
use kinds::{Catalogue, Kind};

use crate::catalogue::lookup::{attributes, find};
use crate::context::audit::Trail;
use crate::context::object;
use crate::context::remarks::Remarks;
use crate::context::request::{FieldValidation, Info, Params};
use crate::generic::body::Body;
use crate::generic::sub::{self, Action};
use crate::generic::watch::{Frame, Stream};
use crate::generic::{Answer, Core, Ctx};

/// One identity's way in.
pub(crate) struct Handle {
    core: Arc<Core>,
    identity: Identity,
    manager: String,
}

impl Handle {
    pub(crate) fn new(core: Arc<Core>, identity: Identity, manager: &str) -> Self {
        Self { core, identity, manager: manager.to_owned() }
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
        let trail = Trail::new(self.core.services.audit.clone(), &info);
        trail.received(&self.identity);
        let told = |status: Status| {
            trail.answered(status.code);
            status
        };
        let asked = attributes(catalogue, &info, &params);
        let refused = |why: String| Status::forbidden(&info.group, &info.resource, &info.name, &why);
        self.core.services.authorizer.check(&self.identity, &asked).map_err(refused).map_err(told)?;
        let (kind, sub) = find(catalogue, &info).map_err(told)?;
        let ctx = Ctx {
            core: &self.core,
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
    async fn call(&self, call: Call) -> Result<client::Answer, Status> {
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
        let catalogue = self.core.services.catalogue();
        let (ctx, trail) = self.admit(&catalogue, &target, &options, name)?;
        let answer = sub::execute(&ctx, action).await;
        trail.noted(ctx.remarks.notes());
        trail.answered(answer.as_ref().map_or_else(|status| status.code, Answer::code));
        for warning in ctx.remarks.warnings() {
            tracing::debug!(warning, user = self.identity.name, "API");
        }
        answer.map(lazy)
    }

    async fn watch(&self, target: Target, options: Options) -> Result<Box<dyn Watch>, Status> {
        let catalogue = self.core.services.catalogue();
        let (ctx, trail) = self.admit(&catalogue, &target, &options, "watch")?;
        let stream = Stream::open(&ctx).await;
        trail.answered(stream.as_ref().map_or_else(|status| status.code, |_| 200));
        Ok(Box::new(Watching(stream?, trail)))
    }
}

/// An answer to whoever is in the process: what is stored is made into JSON only if that is asked for.
fn lazy(answer: Answer) -> client::Answer {
    match answer {
        Answer::Object { kind, entry, .. } => {
            let (_, name) = object::split_key(&entry.key);
            let head = client::Head { name: name.into(), revision: entry.revision };
            client::Answer::later(head, move || object::wire(&kind, &entry.value))
        }
        Answer::List(listed) => client::Answer::json(listed.json()),
        Answer::Value { value, .. } => value.into(),
        Answer::Status(status) => status.to_json().into(),
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
            facts: frame.facts,
        }
    });
    WatchEvent { change: frame.change, object, revision: frame.revision }
}
