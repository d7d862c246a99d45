//! What is not an object of its own kind: subresources with bodies of another kind, and kinds that are only answered.
//!
//! Invariant: [`execute`] is the one place where a call becomes an answer, for HTTP and in-process alike. Absent: log,
//! exec, attach and port-forward, which are streams of bytes and live in the HTTP layer.

mod binding;
mod eviction;
mod review;
mod scale;
mod token;

use bytes::Bytes;
use client::{PatchType, Status};
use kinds::{Act, Role};

use crate::generic::body::Body;
use crate::generic::options::{self, Of};
use crate::generic::{self, Answer, Ctx, create, delete, list, measured, patch, update};

/// What to do, with what.
pub(crate) enum Action {
    Get,
    List,
    Create(Body),
    Update(Body),
    Patch(PatchType, Bytes),
    Delete(Option<Body>),
    DeleteCollection(Option<Body>),
}

/// Performs one authorized call.
pub(crate) async fn execute(ctx: &Ctx<'_>, action: Action) -> Result<Answer, Status> {
    match &action {
        Action::Create(_) => options::check(&ctx.params, Of::Create)?,
        Action::Update(_) => options::check(&ctx.params, Of::Update)?,
        Action::Patch(kind, _) => options::check(&ctx.params, Of::Patch(*kind))?,
        _ => {}
    }
    match (ctx.sub.map(|s| &s.role), action) {
        (None, Action::Get) if ctx.kind.is_measured => measured::get(ctx).await,
        (None, Action::List) if ctx.kind.is_measured => measured::list(ctx).await,
        (None, Action::Create(body)) if !ctx.kind.is_stored() => answered(ctx, body).await,
        (None, Action::Create(body)) => create::create(ctx, body).await,
        (None, Action::List) => list::list(ctx).await,
        (None, Action::Delete(body)) => delete::delete(ctx, body, delete::Admission::Open).await,
        (None, Action::DeleteCollection(body)) => delete::delete_collection(ctx, body).await,
        (None | Some(Role::Part(_)), Action::Get) => generic::get(ctx).await,
        (None | Some(Role::Part(_)), Action::Update(body)) => update::update(ctx, body).await,
        (None | Some(Role::Part(_)), Action::Patch(kind, text)) => patch::patch(ctx, kind, text).await,
        (Some(Role::Scale(paths)), action) => scale::perform(ctx, paths, action).await,
        (Some(Role::Act(Act::Bind)), Action::Create(body)) => binding::bind(ctx, body).await,
        (Some(Role::Act(Act::Evict)), Action::Create(body)) => eviction::evict(ctx, body).await,
        (Some(Role::Act(Act::Token)), Action::Create(body)) => token::request(ctx, body).await,
        _ => Err(Status::method_not_supported()),
    }
}

/// Kinds that are never stored.
async fn answered(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    match ctx.kind.kind.as_str() {
        "Binding" => binding::bind(ctx, body).await,
        "TokenReview" => review::token(ctx, body).await,
        "SubjectAccessReview" => review::subject_access(ctx, body).await,
        "SelfSubjectAccessReview" => review::self_subject_access(ctx, body).await,
        "LocalSubjectAccessReview" => review::local_subject_access(ctx, body).await,
        "SelfSubjectRulesReview" => review::self_subject_rules(ctx, body).await,
        "SelfSubjectReview" => review::self_subject(ctx, body).await,
        _ => Err(Status::method_not_supported()),
    }
}
