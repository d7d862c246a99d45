//! MutatingWebhookConfiguration: who outside the cluster may change what is about to be stored.
//!
//! Absent: rules of its own; they are the validating one's, with `reinvocationPolicy`.

use crate::kind::{Kind, Row};
use crate::validatingwebhookconfiguration::Configuration;

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["MutatingWebhookConfiguration", "mutatingwebhookconfigurations"];
    let row = Kind::new(["admissionregistration.k8s.io", "v1"], names, Configuration { mutates: true });
    row.cluster_wide().conditional().with_generation().build()
});
