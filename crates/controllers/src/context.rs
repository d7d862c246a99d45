//! What a controller acts through: reads, writes as its identity, events, the clock. Executes plans.
//!
//! Invariant: `execute` returns only once snapshots show everything it wrote, also if a later write failed.

use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use client::events::{Recorder, Source, recorder};
use client::{Answer, Call, Gvr, Object, Objects, Options, PatchType, Snapshots, Status, Target, Verb, Want};
use futures_util::future::join_all;
use kinds::Kind;
use kinds::plan::{Action, Deed, Failed, Gone, Notice, Plan, Reference, Write};
use kinds::workload::slow_start;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::driver::{Failure, Turn};
use crate::{Clock, Config};

/// A controller's surroundings.
pub(crate) struct Context {
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) recorder: Recorder,
    clock: Arc<dyn Clock>,
}

impl Context {
    /// Its recorder's task goes into `tasks` and ends with the context.
    pub(crate) fn new(config: &Config, user: &str, component: &str, tasks: &mut JoinSet<()>) -> Self {
        let objects = (config.connect)(user);
        let source = Source { component: component.to_owned(), host: String::new() };
        let (recorder, poster) = recorder(objects.clone(), source);
        tasks.spawn(poster.run());
        Self { snapshots: config.snapshots.clone(), objects, recorder, clock: config.clock.clone() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// One object of the newest revision.
    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Object> {
        self.snapshots.get(&gvr(kind), namespace, name)
    }

    /// One parsed object of the newest revision.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<T>, serde_json::Error> {
        self.get(kind, namespace, name).map(|o| o.parse()).transpose()
    }

    /// The objects of one kind, in one namespace or (empty) all.
    pub(crate) fn list(&self, kind: &Kind, namespace: &str) -> Vec<Object> {
        let want = Want { gvr: gvr(kind), namespace: namespace.into() };
        self.snapshots.snapshot(&[want]).sets.pop().unwrap_or_default()
    }

    /// Posts an event.
    pub(crate) fn event(&self, about: &Reference, notice: Notice) {
        self.recorder.post(about.clone(), notice, self.now());
    }

    /// Executes a plan, stage by stage; the stage in which a write fails is the last.
    pub(crate) async fn execute(&self, plan: Plan) -> Turn {
        self.carry_out(plan).await.map_err(|refused| Failure::Api(refused.status))
    }

    /// The same; the error says which write was refused.
    pub(crate) async fn carry_out(&self, plan: Plan) -> Result<Option<Timestamp>, Refused> {
        for gone in &plan.gone {
            self.verify(gone).await?;
        }
        let mut revision = 0;
        let mut refused = None;
        'stages: for stage in &plan.stages {
            let mut rest = &stage[..];
            for batch in slow_start::batches(stage.len()) {
                let (now, later) = rest.split_at(batch);
                let results = join_all(now.iter().map(|w| self.perform(w, plan.about.as_ref()))).await;
                for (write, result) in now.iter().zip(results) {
                    match result {
                        Ok(written) => revision = revision.max(written),
                        Err(status) => {
                            refused = refused.or(Some(Refused::of(&write.kind, write.action.deed(), status)))
                        }
                    }
                }
                if refused.is_some() {
                    break 'stages;
                }
                rest = later;
            }
        }
        if revision > 0 {
            self.snapshots.wait_for(revision).await;
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        if let Some(about) = &plan.about {
            for notice in plan.events {
                self.event(about, notice);
            }
        }
        for (about, notice) in plan.others {
            self.event(&about, notice);
        }
        Ok(plan.wake_at)
    }

    /// Whether somebody is really gone: snapshots may be of a moment before it came.
    async fn verify(&self, gone: &Gone) -> Result<(), Refused> {
        let read = plain(target(&gone.kind, &gone.namespace, &gone.name, ""), Verb::Get);
        let status = match self.call(read).await.and_then(Answer::value) {
            Ok(found) if found["metadata"]["uid"] != gone.uid.as_str() => return Ok(()),
            Ok(_) => {
                let why = "it is there after all";
                Status::conflict(&gone.kind.group, &gone.kind.plural, &gone.name, why)
            }
            Err(status) if status.is("NotFound") => return Ok(()),
            Err(status) => status,
        };
        Err(Refused::of(&gone.kind, Deed::Read, status))
    }

    /// One write with its events; the revision it made, 0 if unknown.
    async fn perform(&self, write: &Write, about: Option<&Reference>) -> Result<u64, Status> {
        let result = self.call(call(write)).await;
        let tell = |notice: &Option<Notice>, tail: &str| {
            if let (Some(about), Some(notice)) = (about, notice) {
                self.event(about, Notice { message: format!("{}{tail}", notice.message), ..notice.clone() });
            }
        };
        match result {
            Ok(answer) => {
                let head = answer.head();
                tell(&write.done, if head.name.is_empty() { &write.name } else { &head.name });
                tell(&write.said, "");
                Ok(head.revision)
            }
            Err(status) if harmless(&write.action, &write.name, &status) => Ok(0),
            Err(status) => {
                tell(&write.failed, &status.message);
                Err(status)
            }
        }
    }

    /// One call.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, Status> {
        self.objects.call(call).await
    }
}

/// The first write of a plan that was refused.
pub(crate) struct Refused {
    pub(crate) failed: Failed,
    pub(crate) status: Status,
}

impl Refused {
    fn of(kind: &Arc<Kind>, deed: Deed, status: Status) -> Self {
        let (message, reason) = (status.message.clone(), status.reason.to_string());
        Self { failed: Failed { kind: kind.clone(), deed, message, reason }, status }
    }
}

/// Already so: made before, gone already, or going with its namespace.
fn harmless(action: &Action, name: &str, status: &Status) -> bool {
    let terminating = || {
        let causes = status.details.iter().flat_map(|d| &d.causes);
        causes.into_iter().any(|c| c.reason == "NamespaceTerminating")
    };
    match action {
        Action::Create(_) => (!name.is_empty() && status.is("AlreadyExists")) || terminating(),
        Action::Merge(_) | Action::Strategic(_) | Action::Delete(_) | Action::DeleteAll(_) => {
            status.is("NotFound")
        }
        Action::Update(_) | Action::Apply(..) => false,
    }
}

/// The resource of a kind.
pub(crate) fn gvr(kind: &Kind) -> Gvr {
    Gvr::new(&kind.group, &kind.version, &kind.plural)
}

/// The target of an object.
pub(crate) fn target(kind: &Kind, namespace: &str, name: &str, subresource: &str) -> Target {
    Target { gvr: gvr(kind), namespace: namespace.into(), name: name.into(), subresource: subresource.into() }
}

/// A call without options.
pub(crate) fn plain(target: Target, verb: Verb) -> Call {
    Call { target, verb, options: Options::default() }
}

fn call(write: &Write) -> Call {
    let (name, verb) = match &write.action {
        // A new object has no name in the path; what is created at an object (a Binding) has that object's.
        Action::Create(object) if write.subresource.is_empty() => ("", Verb::Create(object.clone())),
        Action::Create(object) => (write.name.as_str(), Verb::Create(object.clone())),
        Action::Update(object) => (write.name.as_str(), Verb::Update(object.clone())),
        Action::Merge(patch) => {
            (write.name.as_str(), Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string())))
        }
        Action::Strategic(patch) => {
            (write.name.as_str(), Verb::Patch(PatchType::Strategic, Bytes::from(patch.to_string())))
        }
        Action::Apply(manager, object) => {
            let verb = Verb::Patch(PatchType::Apply, Bytes::from(object.to_string()));
            let target = target(&write.kind, &write.namespace, &write.name, write.subresource);
            let options = Options { field_manager: (*manager).into(), force: true, ..Options::default() };
            return Call { target, verb, options };
        }
        Action::Delete(options) => (write.name.as_str(), Verb::Delete(Some(options.clone()))),
        Action::DeleteAll(options) => ("", Verb::DeleteCollection(Some(options.clone()))),
    };
    plain(target(&write.kind, &write.namespace, name, write.subresource), verb)
}
