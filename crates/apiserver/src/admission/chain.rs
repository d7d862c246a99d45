//! The chain: which plugins see a review, in which order, and how often.
//!
//! Invariant: plugins are found by kind and operation, so an object of a kind that nobody asks about passes without a
//! walk; within a phase they run in the order of the table, and the first refusal ends it.

use std::collections::HashMap;
use std::sync::Arc;

use client::Status;

use super::reserve::Reserved;
use super::review::{Operation, Pass, Review};
use super::{Mutate, Reserve, Row, Validate, Want};

/// All plugins, ready to be asked.
pub(crate) struct Chain {
    mutate: Phase<dyn Mutate>,
    validate: Phase<dyn Validate>,
    reserve: Phase<dyn Reserve>,
}

impl Chain {
    /// A chain of these, in this order.
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        let (mut mutate, mut validate, mut reserve) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let (name, wants) = (row.name, row.wants);
            mutate.extend(row.mutate.map(|plugin| Arc::new(Member { name, wants, plugin })));
            validate.extend(row.validate.map(|plugin| Arc::new(Member { name, wants, plugin })));
            reserve.extend(row.reserve.map(|plugin| Arc::new(Member { name, wants, plugin })));
        }
        Self { mutate: Phase::new(&mutate), validate: Phase::new(&validate), reserve: Phase::new(&reserve) }
    }

    /// The first phase; runs once more if one of its last plugins changed the object.
    pub(crate) async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        loop {
            for member in &*self.mutate.of(review.kind, review.operation) {
                if member.wants(review) {
                    let refused = member.plugin.mutate(review).await;
                    refused.map_err(|status| member.refused(review, status))?;
                }
            }
            match review.pass {
                Pass::Wanted => review.pass = Pass::Second,
                Pass::First | Pass::Second => return Ok(()),
            }
        }
    }

    /// The second phase.
    pub(crate) async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        for member in &*self.validate.of(review.kind, review.operation) {
            if member.wants(review) {
                member.plugin.validate(review).await.map_err(|status| member.refused(review, status))?;
            }
        }
        Ok(())
    }

    /// The last phase. If one plugin refuses, what those before it took is given back.
    pub(crate) async fn reserve(&self, review: &mut Review<'_>) -> Result<Reserved, Status> {
        let mut reserved = Reserved::default();
        for member in &*self.reserve.of(review.kind, review.operation) {
            if !member.wants(review) {
                continue;
            }
            match member.plugin.reserve(review).await {
                Ok(taken) => reserved.extend(taken),
                Err(status) => {
                    reserved.give_back().await;
                    return Err(member.refused(review, status));
                }
            }
        }
        Ok(reserved)
    }
}

/// A plugin in one phase.
struct Member<T: ?Sized> {
    name: &'static str,
    wants: &'static [Want],
    plugin: Box<T>,
}

impl<T: ?Sized> Member<T> {
    fn wants(&self, review: &Review<'_>) -> bool {
        let sub = |want: &Want| want.subresources.iter().any(|s| *s == "*" || *s == review.subresource);
        let resource = |want: &Want| {
            let (plural, group) = want.resource.split_once('.').unwrap_or((want.resource, ""));
            want.is_for_all() || review.is_of(group, plural)
        };
        self.wants.iter().any(|w| w.operations.contains(&review.operation) && resource(w) && sub(w))
    }

    fn refused(&self, review: &Review<'_>, status: Status) -> Status {
        let operation = review.operation.name();
        tracing::debug!(plugin = self.name, operation, why = status.message, "admission refused");
        status
    }
}

/// Group and plural of a resource, and what is done to it.
type Key = (&'static str, &'static str, Operation);
type Members<T> = Arc<[Arc<Member<T>>]>;

/// One phase's plugins by what they are shown.
struct Phase<T: ?Sized> {
    /// For resources that some plugin names.
    named: HashMap<Key, Members<T>>,
    /// For all others, by operation.
    others: HashMap<Operation, Members<T>>,
}

impl<T: ?Sized> Phase<T> {
    fn new(members: &[Arc<Member<T>>]) -> Self {
        let chosen = |wanted: &dyn Fn(&Want) -> bool| -> Members<T> {
            members.iter().filter(|m| m.wants.iter().any(wanted)).cloned().collect()
        };
        let mut named = HashMap::new();
        let wants = members.iter().flat_map(|m| m.wants);
        for want in wants.filter(|w| !w.is_for_all()) {
            let (plural, group) = want.resource.split_once('.').unwrap_or((want.resource, ""));
            for operation in Operation::ALL {
                let these = chosen(&|w| {
                    w.operations.contains(&operation) && (w.is_for_all() || w.resource == want.resource)
                });
                named.insert((group, plural, operation), these);
            }
        }
        let every = |operation| chosen(&|w| w.operations.contains(&operation) && w.is_for_all());
        let others = Operation::ALL.into_iter().map(|operation| (operation, every(operation))).collect();
        Self { named, others }
    }

    fn of(&self, kind: &kinds::Kind, operation: Operation) -> Members<T> {
        let named: &HashMap<(&str, &str, Operation), Members<T>> = &self.named;
        let found = named.get(&(&*kind.group, &*kind.plural, operation));
        found.or_else(|| self.others.get(&operation)).cloned().unwrap_or_default()
    }
}
