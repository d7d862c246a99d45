//! Priority: the name of a Pod's class becomes a number and a policy, a class that is not there refuses the Pod; one
//! class at most is everybody's, and the system's stay.

use async_trait::async_trait;
use client::Status;
use kinds::priorityclass::{DEFAULT_KEY, PREEMPTS, is_system};
use serde_json::Value;

use super::Operation::{Create, Delete, Update};
use super::{MAIN, Mutate, Operation, Review, Row, Validate, Want};
use crate::context::object;

const CLASSES: (&str, &str, &str) = ("scheduling.k8s.io", "v1", "priorityclasses");

pub(super) fn row() -> Row {
    const CLASS_WRITES: &[Operation] = &[Create, Update, Delete];
    const WANTS: &[Want] = &[
        Want::new(&[Create, Update], "pods", MAIN),
        Want::new(CLASS_WRITES, "priorityclasses.scheduling.k8s.io", MAIN),
    ];
    Row::new("Priority", WANTS).mutates(Priority).validates(Priority)
}

struct Priority;

#[async_trait]
impl Mutate for Priority {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        match review.old {
            _ if !review.is_of("", "pods") => Ok(()),
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

#[async_trait]
impl Validate for Priority {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        if review.is_of("", "pods") {
            return Ok(());
        }
        if review.operation == Delete {
            let why = "this is a system priority class and cannot be deleted";
            return if is_system(&review.name) { Err(review.refuse(why)) } else { Ok(()) };
        }
        if review.object["globalDefault"] != true {
            return Ok(());
        }
        match default_class(review)? {
            Some(class) if review.operation == Create || object::meta(&class, "name") != review.name => {
                let name = object::meta(&class, "name");
                let why =
                    format!("PriorityClass {name} is already marked as default. Only one default can exist");
                Err(review.refuse(why))
            }
            _ => Ok(()),
        }
    }
}

/// The class of Pods without one: should there be several, that of the lowest priority.
fn default_class(review: &Review<'_>) -> Result<Option<Value>, Status> {
    let classes = review.services.all(CLASSES, "", Some(DEFAULT_KEY))?;
    Ok(classes.into_iter().min_by_key(|class| class["value"].as_i64().unwrap_or(0)))
}

fn resolve(review: &mut Review<'_>) -> Result<(), Status> {
    let name = review.object["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let class = if name.is_empty() {
        default_class(review)?
    } else {
        let found = review.services.find(CLASSES, "", name);
        Some(found.ok_or_else(|| review.refuse(format!("no PriorityClass with name {name} was found")))?)
    };
    let class = class.unwrap_or_default();
    let priority = class["value"].as_i64().unwrap_or(0);
    let policy = class["preemptionPolicy"].as_str().unwrap_or(PREEMPTS);
    let spec = &review.object["spec"];
    if let Some(given) = spec["priority"].as_i64().filter(|p| *p != priority) {
        return Err(review.refuse(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        )));
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|p| *p != policy) {
        return Err(review.refuse(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority \
             admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    let spec = &mut review.object["spec"];
    if !class.is_null() {
        spec["priorityClassName"] = object::meta(&class, "name").into();
    }
    spec["priority"] = priority.into();
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}
