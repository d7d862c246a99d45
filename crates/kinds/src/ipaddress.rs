//! IPAddress: that an address of the cluster is taken, and by what. Its name is the address.

use schema::validation::{any, field};
use serde_json::{Value, json};

use crate::field::{ErrorList, GoField, Path, go_form};
use crate::kind::{Column, Endpoint, Kind, NameRule, Row, Strategy};
use crate::meta;
use crate::status::qualified;
use crate::value::{is_set, text};

/// The label that names the family.
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// The label that names who made it.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// What gives addresses to Services.
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// A reference inside upstream.
const PARENT_FORM: &[GoField] = &[
    GoField::text("group", "Group"),
    GoField::text("resource", "Resource"),
    GoField::text("namespace", "Namespace"),
    GoField::text("name", "Name"),
];

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["networking.k8s.io", "v1"], ["IPAddress", "ipaddresses"], IpAddress);
    row.cluster_wide().short(&["ip"]).build()
});

schema::rules! {
    RULES: "io.k8s.api.networking.v1.IPAddress" = [
        field("spec.parentRef").required().inner(&PARENT),
    ];
    PARENT: "io.k8s.api.networking.v1.ParentReference" = [
        any("group").format(base::names::dns1123_subdomain),
        field("resource").required().format(base::names::path_segment),
        field("name").required().format(base::names::path_segment),
        any("namespace").format(base::names::path_segment),
    ];
}

/// The object that says that a Service has an address.
#[must_use]
pub fn of_service(address: &str, namespace: &str, name: &str) -> Value {
    json!({
        "metadata": {"name": address,
            "labels": {FAMILY: crate::service::families::family(address), MANAGED_BY: ALLOCATOR}},
        "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}},
    })
}

/// Namespace and name of the Service that an address was given to, if it was.
#[must_use]
pub fn service_of(address: &Value) -> Option<(&str, &str)> {
    let parent = &address["spec"]["parentRef"];
    let given = text(&address["metadata"]["labels"][MANAGED_BY]) == ALLOCATOR;
    (given && text(&parent["resource"]) == "services" && text(&parent["group"]).is_empty())
        .then(|| (text(&parent["namespace"]), text(&parent["name"])))
}

/// Its behaviour.
#[derive(Debug)]
pub struct IpAddress;

impl Strategy for IpAddress {
    fn name_rule(&self) -> NameRule {
        NameRule::Address
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(self.validate(new));
        let (parent, before) = (&new["spec"]["parentRef"], &old["spec"]["parentRef"]);
        if parent != before {
            let shown = if is_set(parent) { go_form(parent, PARENT_FORM) } else { "null".into() };
            errors.invalid_as(&Path::new("spec.parentRef"), shown, "field is immutable");
        }
        errors
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("ParentRef")] }
    }
    fn cells(&self, obj: &Value, _now: i64) -> Vec<Value> {
        let parent = &obj["spec"]["parentRef"];
        let resource = qualified(text(&parent["group"]), text(&parent["resource"])).to_lowercase();
        let namespace = Some(text(&parent["namespace"])).filter(|namespace| !namespace.is_empty());
        let parts = [Some(resource.as_str()), namespace, Some(text(&parent["name"]))];
        let shown = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(if is_set(parent) { shown } else { "<none>".to_owned() }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_service() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let address = of_service("10.96.0.1", "default", "kubernetes");
        assert_eq!(IpAddress.validate(&address).to_string(), "[]");
        assert_eq!(service_of(&address), Some(("default", "kubernetes")));
        assert_eq!(IpAddress.cells(&address, 0)[1], "services/default/kubernetes");
        let mut other = address.clone();
        other["spec"]["parentRef"]["name"] = json!("x");
        let why = IpAddress.validate_update(&other, &address, Endpoint::Main).to_string();
        let shown = r#"{"Group":"","Resource":"services","Namespace":"default","Name":"x"}"#;
        assert_eq!(why, format!("spec.parentRef: Invalid value: {shown}: field is immutable"));
        other["metadata"]["labels"] = json!({});
        assert_eq!(service_of(&other), None);
    }

    #[test]
    fn names_are_addresses() {
        for (name, good) in
            [("10.0.0.1", true), ("2001:db8::1", true), ("2001:DB8::1", false), ("a.b", false)]
        {
            assert_eq!(meta::name_errors(NameRule::Address, name, false).is_empty(), good, "{name}");
        }
    }
}
