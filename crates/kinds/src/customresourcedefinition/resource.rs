//! The kinds that a definition serves, one for each served version, and how their objects behave.

use std::sync::Arc;

use schema::custom::CustomType;
use schema::validation::StructuralError;
use serde_json::{Map, Value};

use super::cells::Cells;
use super::{rules, storage_version};
use crate::field::{ErrorList, ErrorType, FieldError, Path};
use crate::kind::{CUSTOM_VERBS, Endpoint, Kind, ScalePaths, Strategy};
use crate::value::{is_set, items, keep, text};

/// The kinds of a definition.
///
/// # Errors
/// A schema that cannot be used, which validation has refused before.
pub fn kinds(crd: &Value) -> Result<Vec<Arc<Kind>>, StructuralError> {
    let served = items(&crd["spec"]["versions"]).iter().filter(|v| v["served"] == true);
    served.map(|version| kind(crd, version)).collect()
}

fn kind(crd: &Value, version: &Value) -> Result<Arc<Kind>, StructuralError> {
    let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
    let (group, name) = (text(&spec["group"]), text(&version["name"]));
    let own_type =
        CustomType::new([group, name, text(&names["kind"])], &version["schema"]["openAPIV3Schema"])?;
    let own_type = Arc::new(own_type);
    let strategy = Resource {
        ty: own_type.clone(),
        cells: Cells::of(&version["additionalPrinterColumns"]),
        rules: rules::compile(&version["schema"]["openAPIV3Schema"]),
    };
    let words = |list: &Value| items(list).iter().map(|word| text(word).to_owned()).collect();
    let mut kind = Kind::new([group, name], [text(&names["kind"]), text(&names["plural"])], strategy)
        .only(CUSTOM_VERBS)
        .conditional()
        .with_generation();
    kind.singular = text(&names["singular"]).to_owned();
    kind.short_names = words(&names["shortNames"]);
    kind.categories = words(&names["categories"]);
    kind.namespaced = text(&spec["scope"]) == "Namespaced";
    kind.custom = Some(own_type);
    let selectable = items(&version["selectableFields"]).iter();
    kind.selectable =
        selectable.map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned()).collect();
    if name != storage_version(crd) {
        kind = kind.stored_as(group, storage_version(crd));
    }
    let subresources = &version["subresources"];
    if is_set(&subresources["status"]) {
        kind = kind.with_status();
    }
    if is_set(&subresources["scale"]) {
        let path = |name: &str| text(&subresources["scale"][name]).trim_start_matches('.').to_owned().into();
        kind = kind.with_scale(ScalePaths {
            wished: path("specReplicasPath"),
            present: path("statusReplicasPath"),
            selector: path("labelSelectorPath"),
        });
    }
    Ok(kind.build())
}

/// Behaviour of custom resources.
#[derive(Debug)]
struct Resource {
    ty: Arc<CustomType>,
    cells: Cells,
    rules: rules::Node,
}

impl Resource {
    /// Rules are asked only about an object whose form is right.
    fn judged(&self, mut errors: ErrorList, new: &Value, old: Option<&Value>) -> ErrorList {
        let blocks = |kind| {
            matches!(
                kind,
                ErrorType::Required | ErrorType::TooLong | ErrorType::TooMany | ErrorType::TypeInvalid
            )
        };
        if self.rules.is_empty() {
            return errors;
        }
        if errors.0.iter().any(|error| blocks(error.kind)) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors \
                       to complete validation";
            let mut error = FieldError::new(ErrorType::Invalid, &Path::root(), Value::Null, why);
            error.field = "<nil>".into();
            errors.push(error);
            return errors;
        }
        errors.extend(rules::evaluate(&self.rules, new, old));
        errors
    }
}

impl Strategy for Resource {
    fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
        if endpoint != Endpoint::Main {
            // Of metadata a status write changes only who owns what.
            let sent = new["metadata"].take();
            let mut meta = old["metadata"].clone();
            for field in ["managedFields", "resourceVersion"] {
                keep(&mut meta, &sent, field);
            }
            new["metadata"] = meta;
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        let own = own(obj);
        self.judged(self.ty.validate(&own, None), &own, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = crate::meta::change(new, old);
        let (new, old) = (own(new), own(old));
        errors.extend(self.judged(self.ty.validate(&new, Some(&old)), &new, Some(&old)));
        errors
    }
    fn headers(&self) -> Vec<Value> {
        self.cells.headers()
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        self.cells.of_object(obj, now)
    }
}

/// The object as its schema's rules see it: metadata has rules of its own.
fn own(obj: &Value) -> Value {
    let mut own = obj.clone();
    let meta = &obj["metadata"];
    let named = ["name", "generateName"].into_iter().filter(|field| !meta[*field].is_null());
    own["metadata"] =
        named.map(|field| (field.to_owned(), meta[field].clone())).collect::<Map<_, _>>().into();
    own
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_of_each_served_version() {
        let version = |name: &str, served: bool, storage: bool| {
            json!({"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object"}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}})
        };
        let crd = json!({"spec": {"group": "e.com", "scope": "Cluster", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [version("v2", true, true), version("v1", true, false), version("v0", false, false)]}});
        let kinds = kinds(&crd).expect("good schemas");
        let said: Vec<String> = kinds.iter().map(|k| format!("{} {}", k.api_version(), k.bucket)).collect();
        assert_eq!(said, ["e.com/v2 foos.e.com", "e.com/v1 foos.e.com"]);
        assert_eq!((kinds[1].storage(), kinds[0].namespaced), (("e.com", "v2"), false));
        let subresources: Vec<_> = kinds[0].subresources.iter().map(|s| s.name).collect();
        assert_eq!(subresources, ["scale", "status"]);
    }
}
