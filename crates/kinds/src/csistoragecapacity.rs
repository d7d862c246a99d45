//! CSIStorageCapacity: how much storage of a class there is where, as its driver says.
//!
//! Invariant: of which class and where never changes.

use schema::validation::{At, Run, field, set};
use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::kind::{Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::pod::resources::quantity;
use crate::pod::validate::label_selector;
use crate::pod::warnings::node_label;
use crate::value::{entries, items, same, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(
        ["storage.k8s.io", "v1"],
        ["CSIStorageCapacity", "csistoragecapacities"],
        CsiStorageCapacity,
    );
    row.conditional().build()
});

schema::rules! {
    RULES: "io.k8s.api.storage.v1.CSIStorageCapacity" = [
        set("nodeTopology").with(label_selector),
        field("storageClassName").format(base::names::dns1123_subdomain),
        field("capacity").with(not_negative),
    ];
}

fn not_negative<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if let Some(amount) = quantity(at.value()).filter(|amount| amount.sign() < 0) {
        run.invalid(at, amount.to_string(), "must be greater than or equal to 0");
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::change(new, old);
        for field in ["nodeTopology", "storageClassName"] {
            if !same(&new[field], &old[field]) {
                errors.invalid(&Path::new(field), new[field].clone(), "field is immutable");
            }
        }
        errors
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let nodes = &obj["nodeTopology"];
        let labels = entries(&nodes["matchLabels"])
            .filter_map(|(key, _)| Some(format!("nodeTopology.matchLabels[{key}]: {}", node_label(key)?)));
        let terms = items(&nodes["matchExpressions"]).iter().enumerate().filter_map(|(i, term)| {
            let key = text(&term["key"]);
            Some(format!("nodeTopology.matchExpressions[{i}].key: {key} is {}", node_label(key)?))
        });
        labels.chain(terms).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let old = json!({"metadata": {"name": "a", "namespace": "n", "resourceVersion": "1"}, "storageClassName": "c"});
        assert!(CsiStorageCapacity.validate(&old).is_empty());
        let new = json!({"metadata": old["metadata"], "storageClassName": "d", "capacity": "-1"});
        assert_eq!(
            CsiStorageCapacity.validate(&new).to_string(),
            "capacity: Invalid value: \"-1\": must be greater than or equal to 0"
        );
        assert_eq!(
            CsiStorageCapacity.validate_update(&new, &old, Endpoint::Main).to_string(),
            "storageClassName: Invalid value: \"d\": field is immutable"
        );
    }
}
