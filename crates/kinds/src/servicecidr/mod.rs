//! ServiceCIDR: ranges that addresses of Services are taken from.
//!
//! Whether a range may go is decided in [`reconcile`]. Absent: taking addresses of it.

pub mod reconcile;

use base::Cidr;
use schema::addresses::is_ipv6;
use schema::validation::{At, Run, field};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, GoField, Path, go_form};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::names;
use crate::value::{is_set, items, text};

/// The one that the instance's configuration makes.
pub const DEFAULT: &str = "kubernetes";
/// One for each family.
const MOST: usize = 2;
const ONE_EACH: &str =
    "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
const FIXED: &str = "field is immutable";
/// A spec inside upstream.
const SPEC_FORM: &[GoField] = &[GoField::pointer("cidrs", "CIDRs")];

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["networking.k8s.io", "v1"], ["ServiceCIDR", "servicecidrs"], ServiceCidr);
    row.cluster_wide().with_status().build()
});

schema::rules! {
    RULES: "io.k8s.api.networking.v1.ServiceCIDR" = [
        field("spec.cidrs").required_as("at least one CIDR required").with(ranges),
    ];
}

fn ranges<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let shown = || go_form(&json!({"cidrs": at.value()}), SPEC_FORM);
    let list = items(at.value());
    if list.len() > MOST {
        return run.invalid_as(at, shown(), "may only hold up to 2 values");
    }
    if let [first, second] = list
        && is_six(first) == is_six(second)
    {
        return run.invalid_as(at, shown(), ONE_EACH);
    }
    for range in at.items() {
        names::check(run, &range, range.text(), names::cidr(range.text()));
    }
}

fn is_six(range: &Value) -> bool {
    is_ipv6(text(range).split('/').next().unwrap_or_default())
}

/// The ranges of one that is in use: it is not on its way out, and its controller says that it is ready.
#[must_use]
pub fn in_use(obj: &Value) -> Vec<Cidr> {
    let ready =
        |condition: &Value| text(&condition["type"]) == "Ready" && text(&condition["status"]) == "True";
    let usable = !is_set(&obj["metadata"]["deletionTimestamp"])
        && items(&obj["status"]["conditions"]).iter().any(ready);
    items(&obj["spec"]["cidrs"])
        .iter()
        .filter(|_| usable)
        .filter_map(|range| text(range).parse().ok())
        .collect()
}

/// Its behaviour.
#[derive(Debug)]
pub struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = ErrorList::default();
        let (ranges, before) = (items(&new["spec"]["cidrs"]), items(&old["spec"]["cidrs"]));
        let path = Path::new("spec.cidrs");
        let stay = before.iter().zip(ranges).enumerate();
        match (before.len(), ranges.len()) {
            _ if endpoint != Endpoint::Main => {}
            (1, 2) | (1, 1) | (2, 2) => {
                for (i, (_, range)) in stay.filter(|(_, (before, range))| before != range) {
                    errors.invalid(&path.index(i), range.clone(), FIXED);
                }
                if let ([_], [first, second]) = (before, ranges) {
                    if is_six(first) == is_six(second) {
                        errors.invalid(&path, new["spec"]["cidrs"].clone(), ONE_EACH);
                    }
                    names::check(&mut errors, &path.index(1), text(second), names::cidr(text(second)));
                }
            }
            _ => errors.invalid(&path, new["spec"]["cidrs"].clone(), FIXED),
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("CIDRs"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let ranges: Vec<&str> = items(&obj["spec"]["cidrs"]).iter().map(text).collect();
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(ranges.join(",")),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranges: Value) -> Value {
        json!({"metadata": {"name": "r"}, "spec": {"cidrs": ranges}})
    }

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        for (ranges, want) in [
            (json!(["10.0.0.0/24", "fd00::/112"]), "[]"),
            (json!([]), "spec.cidrs: Required value: at least one CIDR required"),
            (
                json!(["10.0.0.0/24", "fd00::/112", "10.0.0.0/24"]),
                "spec.cidrs: Invalid value: {\"CIDRs\":[\"10.0.0.0/24\",\"fd00::/112\",\"10.0.0.0/24\"]}: may only hold up \
                 to 2 values",
            ),
            (
                json!(["10.0.0.1/24"]),
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
            ),
        ] {
            assert_eq!(ServiceCidr.validate(&of(ranges)).to_string(), want);
        }
    }

    #[test]
    fn what_may_change() {
        let change = |before: Value, after: Value| {
            ServiceCidr.validate_update(&of(after), &of(before), Endpoint::Main).to_string()
        };
        let (one, two) = (json!(["10.0.0.0/24"]), json!(["10.0.0.0/24", "fd00::/112"]));
        assert_eq!(change(one.clone(), two.clone()), "[]", "a second family may come");
        assert_eq!(
            change(two.clone(), one),
            "spec.cidrs: Invalid value: [\"10.0.0.0/24\"]: field is immutable"
        );
        assert_eq!(
            change(two, json!(["10.0.1.0/24", "fd00::/112"])),
            "spec.cidrs[0]: Invalid value: \"10.0.1.0/24\": field is immutable"
        );
    }

    #[test]
    fn who_is_in_use() {
        let mut range = of(json!(["10.0.0.0/24"]));
        assert_eq!(in_use(&range), []);
        range["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(in_use(&range), ["10.0.0.0/24".parse().unwrap()]);
        range["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        assert_eq!(in_use(&range), []);
    }
}
