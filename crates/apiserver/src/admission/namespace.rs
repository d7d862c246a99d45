//! NamespaceLifecycle: nothing is created in a namespace that is missing or going; three namespaces stay.

use async_trait::async_trait;
use client::Status;
use kinds::status::Cause;

use super::Operation::{Create, Delete};
use super::{EVERY, MAIN, Mutate, Review, Row, Want};

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create], "*", EVERY), Want::new(&[Delete], "namespaces", MAIN)];
    Row::new("NamespaceLifecycle", WANTS).mutates(NamespaceLifecycle)
}

struct NamespaceLifecycle;

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

#[async_trait]
impl Mutate for NamespaceLifecycle {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        match review.operation {
            Delete if IMMORTAL.contains(&review.name.as_str()) => {
                Err(review.refuse("this namespace may not be deleted"))
            }
            Create => created(review),
            _ => Ok(()),
        }
    }
}

fn created(review: &Review<'_>) -> Result<(), Status> {
    let name = review.namespace;
    // The answer to a question about rights must not tell whether the namespace exists.
    if name.is_empty() || review.is_of("authorization.k8s.io", "localsubjectaccessreviews") {
        return Ok(());
    }
    let namespace = review.services.entry(("", "v1", "namespaces"), "", name);
    let namespace = namespace.ok_or_else(|| Status::not_found("", "namespaces", name))?;
    if !namespace.facts().deleting {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let cause = Cause::new(
        "NamespaceTerminating",
        format!("namespace {name} is being terminated"),
        "metadata.namespace",
    );
    Err(review.refuse(why).with_cause(cause))
}
