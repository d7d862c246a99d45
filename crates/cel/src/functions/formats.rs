//! Formats that have a name.

use std::sync::LazyLock;

use regex::Regex;

use super::{Done, Function, Meter, core, network, time};
use crate::Error;
use crate::value::{Opaque, Value};

const NAMES: &[&str] = &[
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "format.named" => |_, args| match &args[0] {
            Value::Text(name) => {
                let found = NAMES.iter().find(|known| **known == name);
                Ok(super::lists::optional(found.map(|name| Value::Opaque(Opaque::Format(name)))))
            }
            _ => Err(Error::no_overload()),
        },
        "validate" => validate,
        "format.dns1123Label" => |_, _| Ok(of("dns1123Label")),
        "format.dns1123Subdomain" => |_, _| Ok(of("dns1123Subdomain")),
        "format.dns1035Label" => |_, _| Ok(of("dns1035Label")),
        "format.qualifiedName" => |_, _| Ok(of("qualifiedName")),
        "format.dns1123LabelPrefix" => |_, _| Ok(of("dns1123LabelPrefix")),
        "format.dns1123SubdomainPrefix" => |_, _| Ok(of("dns1123SubdomainPrefix")),
        "format.dns1035LabelPrefix" => |_, _| Ok(of("dns1035LabelPrefix")),
        "format.labelValue" => |_, _| Ok(of("labelValue")),
        "format.uri" => |_, _| Ok(of("uri")),
        "format.uuid" => |_, _| Ok(of("uuid")),
        "format.byte" => |_, _| Ok(of("byte")),
        "format.date" => |_, _| Ok(of("date")),
        "format.datetime" => |_, _| Ok(of("datetime")),
        _ => return None,
    })
}

fn of(name: &'static str) -> Value<'static> {
    Value::Opaque(Opaque::Format(name))
}

fn validate<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let [Value::Opaque(Opaque::Format(name)), Value::Text(text)] = args else {
        return Err(Error::no_overload());
    };
    meter.characters(text.len())?;
    let errors = errors(name, text);
    if errors.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::list(errors.into_iter().map(Value::text).collect()).some())
}

static UUID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")
        .expect("a pattern that is checked by tests")
});

/// What is wrong with text of a format.
fn errors(name: &str, text: &str) -> Vec<String> {
    let one = |fine: bool, why: &str| if fine { Vec::new() } else { vec![why.to_owned()] };
    // What comes before a generated suffix may end with a hyphen.
    let prefix = || text.strip_suffix('-').map_or_else(|| text.to_owned(), |head| format!("{head}a"));
    match name {
        "dns1123Label" => base::names::dns1123_label(text),
        "dns1123Subdomain" => base::names::dns1123_subdomain(text),
        "dns1035Label" => base::names::dns1035_label(text),
        "dns1123LabelPrefix" => base::names::dns1123_label(&prefix()),
        "dns1123SubdomainPrefix" => base::names::dns1123_subdomain(&prefix()),
        "dns1035LabelPrefix" => base::names::dns1035_label(&prefix()),
        "qualifiedName" => base::labels::qualified_name_errors(text),
        "labelValue" => base::labels::value_errors(text),
        "uri" => match network::url(text) {
            Ok(_) => Vec::new(),
            Err(why) => vec![why.to_string()],
        },
        "uuid" => one(UUID.is_match(text), "does not match the UUID format"),
        "byte" => one(core::base64(text).is_some(), "invalid base64"),
        "date" => one(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date"),
        _ => one(time::timestamp(text).is_some(), "invalid datetime"),
    }
}
