//! Priority: a Pod's class name becomes a number. Absent: PriorityClass objects; only the two built-in classes exist.

use async_trait::async_trait;
use client::Status;

use super::Operation::{Create, Update};
use super::{MAIN, Mutate, Review, Row, Want};

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create, Update], "pods", MAIN)];
    Row::new("Priority", WANTS).mutates(Priority)
}

struct Priority;

const BUILT_IN: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

#[async_trait]
impl Mutate for Priority {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        match review.old {
            None => resolve(review),
            Some(old) => {
                for field in ["priority", "preemptionPolicy"] {
                    if review.object["spec"].get(field).is_none()
                        && let Some(before) = old["spec"].get(field)
                    {
                        review.object["spec"][field] = before.clone();
                    }
                }
                Ok(())
            }
        }
    }
}

fn resolve(review: &mut Review<'_>) -> Result<(), Status> {
    let spec = &review.object["spec"];
    let class = spec["priorityClassName"].as_str().unwrap_or_default();
    let priority = if class.is_empty() {
        0
    } else {
        let found = BUILT_IN.iter().find(|(name, _)| *name == class);
        found.ok_or_else(|| review.refuse(format!("no PriorityClass with name {class} was found")))?.1
    };
    if let Some(given) = spec["priority"].as_i64().filter(|p| *p != priority) {
        return Err(review.refuse(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        )));
    }
    let policy = spec["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority");
    if policy != "PreemptLowerPriority" {
        return Err(review.refuse(format!(
            "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority \
             admission controller computed PreemptLowerPriority from the given PriorityClass name"
        )));
    }
    review.object["spec"]["priority"] = priority.into();
    review.object["spec"]["preemptionPolicy"] = "PreemptLowerPriority".into();
    Ok(())
}
