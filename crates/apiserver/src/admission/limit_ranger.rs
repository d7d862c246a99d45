//! LimitRanger: the ranges of a namespace give Pods what they do not say, and refuse what is out of bounds.

use async_trait::async_trait;
use client::Status;
use kinds::limitrange::limits::{complete, refused_of_claim, refused_of_pod};
use kinds::rbac::rule::together;
use serde_json::Value;

use super::Operation::{Create, Update};
use super::{MAIN, Mutate, Review, Row, Validate, Want};
use crate::context::object;

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[
        Want::new(&[Create], "pods", MAIN),
        Want::new(&[Update], "pods", &["resize"]),
        Want::new(&[Create, Update], "persistentvolumeclaims", MAIN),
    ];
    Row::new("LimitRanger", WANTS).mutates(LimitRanger).validates(LimitRanger)
}

struct LimitRanger;

fn ranges(review: &Review<'_>) -> Result<Vec<Value>, Status> {
    review.services.all(("", "v1", "limitranges"), review.namespace, None)
}

#[async_trait]
impl Mutate for LimitRanger {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.operation == Create && review.is_of("", "pods") {
            for range in ranges(review)? {
                complete(&range, &mut review.object);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Validate for LimitRanger {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        // What goes is left to go.
        if review.operation == Update && object::is_deleting(&review.object) {
            return Ok(());
        }
        let refused = if review.is_of("", "pods") { refused_of_pod } else { refused_of_claim };
        for range in ranges(review)? {
            let errors = refused(&range, &review.object);
            if !errors.is_empty() {
                return Err(review.refuse(together(&errors)));
            }
        }
        Ok(())
    }
}
