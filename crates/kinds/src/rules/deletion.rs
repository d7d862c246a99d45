//! The body of a DELETE (`metav1.DeleteOptions`).
//!
//! Invariant: what is deleted for a reason is named by its UID, so that a namesake made since stays.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions};
use serde_json::Value;

/// What becomes of what the object owns (`propagationPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// It goes after the object.
    Background,
    /// The object goes after it.
    Foreground,
    /// It stays.
    Orphan,
}

impl Propagation {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// How to delete something.
#[derive(Debug, Clone, Default)]
pub struct Deletion(DeleteOptions);

impl Deletion {
    /// Whatever has the name.
    #[must_use]
    pub fn of_any() -> Self {
        let named = |text: &str| Some(text.to_owned());
        Self(DeleteOptions {
            api_version: named("v1"),
            kind: named("DeleteOptions"),
            ..DeleteOptions::default()
        })
    }

    /// Only the object with this UID; of any if it is empty.
    #[must_use]
    pub fn of(uid: &str) -> Self {
        let mut any = Self::of_any();
        if !uid.is_empty() {
            any.0.preconditions.get_or_insert_default().uid = Some(uid.to_owned());
        }
        any
    }

    /// Only this version of it.
    #[must_use]
    pub fn at(mut self, resource_version: &str) -> Self {
        let conditions = self.0.preconditions.get_or_insert_with(Preconditions::default);
        conditions.resource_version = Some(resource_version.to_owned());
        self
    }

    /// Without grace.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.0.grace_period_seconds = Some(0);
        self
    }

    /// And this with what it owns.
    #[must_use]
    pub fn then(mut self, propagation: Propagation) -> Self {
        self.0.propagation_policy = Some(propagation.name().to_owned());
        self
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Value {
        serde_json::to_value(&self.0).expect("options are texts and numbers")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies() {
        for (deletion, want) in [
            (Deletion::of_any(), json!({})),
            (Deletion::of(""), json!({})),
            (Deletion::of("u").at_once(), json!({"preconditions": {"uid": "u"}, "gracePeriodSeconds": 0})),
            (
                Deletion::of("u").at("7").then(Propagation::Orphan),
                json!({"preconditions": {"uid": "u", "resourceVersion": "7"}, "propagationPolicy": "Orphan"}),
            ),
        ] {
            let mut want = want;
            want["apiVersion"] = json!("v1");
            want["kind"] = json!("DeleteOptions");
            assert_eq!(deletion.body(), want);
        }
    }
}
