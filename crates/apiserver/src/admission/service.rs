//! Services: families before they are validated, addresses and ports on the nodes before they are stored.
//!
//! Absent: what is given, which `allocation` decides.

use async_trait::async_trait;
use client::Status;
use kinds::service::allocation::{Refused, addresses, give, wishes};
use kinds::service::families::settle;
use kinds::{ErrorList, Path};
use serde_json::Value;

use super::Operation::{Create, Delete, Update};
use super::reserve::{Outcome, Reservation};
use super::{MAIN, Mutate, Reserve, Review, Row, Want};
use crate::context::allocation::{Owner, Taken};
use crate::context::object;

/// Last of all: what others change comes first.
pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create, Update, Delete], "services", MAIN)];
    Row::new("ServiceAllocation", WANTS).mutates(Service).reserves(Service)
}

struct Service;

#[async_trait]
impl Mutate for Service {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.operation == Delete {
            return Ok(());
        }
        let cluster = review.services.allocator.families();
        let mut spec = review.object["spec"].take();
        let settled = settle(&mut spec, review.old.map(|old| &old["spec"]), &cluster);
        review.object["spec"] = spec;
        settled.map_err(|errors| invalid(review, &errors))
    }
}

fn invalid(review: &Review<'_>, errors: &ErrorList) -> Status {
    let name = if review.name.is_empty() { object::meta(&review.object, "name") } else { &review.name };
    Status::invalid("", &review.kind.kind, name, errors)
}

#[async_trait]
impl Reserve for Service {
    async fn reserve(&self, review: &mut Review<'_>) -> Result<Option<Box<dyn Reservation>>, Status> {
        let old = review.old.map(|old| &old["spec"]);
        let name = if review.name.is_empty() { object::meta(&review.object, "name") } else { &review.name };
        let owner = Owner { namespace: review.namespace.to_owned(), name: name.to_owned() };
        let before = old.into_iter().flat_map(addresses).map(str::to_owned).collect();
        let taken = Taken::new(review.services.allocator.clone(), owner, before);
        if review.operation == Delete {
            return Ok(to_settle(taken.matters(&Value::Null), taken));
        }
        let (taken, given) = take(review, taken).await?;
        match given {
            Ok(matters) => Ok(to_settle(matters, taken)),
            Err(status) => {
                // Given back before the answer says that there is none.
                taken.end().await;
                Err(status)
            }
        }
    }
}

/// What is told how the write ended, if that matters.
fn to_settle(matters: bool, taken: Taken) -> Option<Box<dyn Reservation>> {
    if matters {
        return Some(Box::new(taken));
    }
    taken.forget();
    None
}

#[async_trait]
impl Reservation for Taken {
    /// However it ended: what is stored says what is kept.
    async fn settle(self: Box<Self>, _: Outcome) {
        self.end().await;
    }
}

/// Addresses, then ports; whether there is something to settle.
async fn take(review: &mut Review<'_>, taken: Taken) -> Result<(Taken, Result<bool, Status>), Status> {
    let (mut taken, given) = take_addresses(review, taken).await?;
    if let Err(status) = given {
        return Ok((taken, Err(status)));
    }
    let old = review.old.map(|old| &old["spec"]);
    let mut spec = review.object["spec"].take();
    let ports = taken.ports(&mut spec, old);
    let matters = taken.matters(&spec) || !wishes(&spec, old).is_empty();
    review.object["spec"] = spec;
    let given = match ports {
        Ok(()) => Ok(matters),
        Err(Refused::Invalid(errors)) => Err(invalid(review, &errors)),
        Err(Refused::Internal(why)) => Err(Status::internal(why)),
    };
    Ok((taken, given))
}

/// In a task of its own, so that what is taken is known even if the request goes away meanwhile.
async fn take_addresses(
    review: &mut Review<'_>,
    mut taken: Taken,
) -> Result<(Taken, Result<(), Status>), Status> {
    let wishes = wishes(&review.object["spec"], review.old.map(|old| &old["spec"]));
    if wishes.is_empty() {
        return Ok((taken, Ok(())));
    }
    let dry_run = review.dry_run;
    let asked = wishes.clone();
    let taking = tokio::spawn(async move {
        let mut given = Vec::new();
        for wish in &asked {
            given.push(taken.address(wish, dry_run).await);
        }
        (taken, given)
    });
    let (taken, given) = taking.await.map_err(Status::internal)?;
    for (wish, given) in wishes.iter().zip(given) {
        match given {
            Ok(address) => give(&mut review.object["spec"], wish.at, &address),
            Err(why) => return Ok((taken, Err(refused(review, wish.address.as_deref(), &why)))),
        }
    }
    Ok((taken, Ok(())))
}

fn refused(review: &Review<'_>, asked: Option<&str>, why: &str) -> Status {
    let Some(asked) = asked else {
        return Status::internal(format_args!("failed to allocate a serviceIP: {why}"));
    };
    let mut errors = ErrorList::default();
    let all = review.object["spec"]["clusterIPs"].clone();
    errors.invalid(&Path::new("spec.clusterIPs"), all, format!("failed to allocate IP {asked}: {why}"));
    invalid(review, &errors)
}
