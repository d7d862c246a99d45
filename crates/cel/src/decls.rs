//! What functions there are: the table in `decls.txt`, one overload a line.
//!
//! Invariant: a line is `NAME(TYPES): TYPE`, or `TYPE.NAME(TYPES): TYPE` for what is called on a value; a name with a dot whose
//! first part is no type, or that is listed in [`SPACES`], is a name. `<` stands for all four orders. Each name has a
//! function in `functions`, which a test asks for.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::types::Type;

/// One way to call a function.
#[derive(Debug, Clone)]
pub(crate) struct Overload {
    /// What it is called on comes first.
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) member: bool,
}

/// Overloads by name.
pub(crate) type Table = HashMap<String, Vec<Overload>>;

/// Names of functions that begin as types do.
const SPACES: &[&str] = &["optional.of(", "optional.none(", "optional.ofNonZeroValue(", "ip.isCanonical("];

pub(crate) static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    for line in include_str!("decls.txt").lines() {
        let (name, overload) = read(line).expect("a committed line, which is checked by a test");
        if name == "_<_" {
            for order in ["_<=_", "_>_", "_>=_"] {
                table.entry(order.to_owned()).or_default().push(overload.clone());
            }
        }
        table.entry(name).or_default().push(overload);
    }
    table
});

fn read(line: &str) -> Option<(String, Overload)> {
    let mut reader = Reader(line);
    let of_format = line.starts_with("format.") && !line.starts_with("format.validate");
    let named = of_format || SPACES.iter().any(|space| line.starts_with(space));
    let whole = reader;
    let target = if named { None } else { reader.ty().filter(|_| reader.eat(".")) };
    if target.is_none() {
        reader = whole;
    }
    let end = reader.0.find('(')?;
    let name = reader.0[..end].to_owned();
    reader.0 = &reader.0[end + 1..];
    let mut params: Vec<Type> = target.clone().into_iter().collect();
    while !reader.eat(")") {
        params.push(reader.ty()?);
        reader.eat(", ");
    }
    let result = if reader.eat(": ") { reader.ty()? } else { return None };
    let member = target.is_some();
    reader.0.is_empty().then_some((name, Overload { params, result, member }))
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn eat(&mut self, text: &str) -> bool {
        self.0.strip_prefix(text).map(|rest| self.0 = rest).is_some()
    }

    fn ty(&mut self) -> Option<Type> {
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.0.len());
        let name = &self.0[..end];
        let simple = simple(name);
        if simple.is_some() {
            self.0 = &self.0[end..];
            return simple;
        }
        let of = matches!(name, "list" | "map" | "optional" | "type") && self.0[end..].starts_with('(');
        if !of {
            return None;
        }
        self.0 = &self.0[end + 1..];
        let first = Arc::new(self.ty()?);
        let second = if self.eat(", ") { Some(Arc::new(self.ty()?)) } else { None };
        self.eat(")").then_some(())?;
        Some(match (name, second) {
            ("list", None) => Type::List(first),
            ("optional", None) => Type::Optional(first),
            ("type", None) => Type::Type(first),
            ("map", Some(second)) => Type::Map(first, second),
            _ => return None,
        })
    }
}

fn simple(name: &str) -> Option<Type> {
    Some(match name {
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "quantity" => Type::Opaque("kubernetes.Quantity"),
        "url" => Type::Opaque("kubernetes.URL"),
        "ip" => Type::Opaque("net.IP"),
        "cidr" => Type::Opaque("net.CIDR"),
        "semver" => Type::Opaque("kubernetes.Semver"),
        "format" => Type::Opaque("kubernetes.NamedFormat"),
        "authorizer" => Type::Opaque("kubernetes.authorization.Authorizer"),
        "path" => Type::Opaque("kubernetes.authorization.PathCheck"),
        "group" => Type::Opaque("kubernetes.authorization.GroupCheck"),
        "resource" => Type::Opaque("kubernetes.authorization.ResourceCheck"),
        "decision" => Type::Opaque("kubernetes.authorization.Decision"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_has_a_function() {
        for line in include_str!("decls.txt").lines() {
            let (name, overload) = read(line).unwrap_or_else(|| panic!("{line}"));
            assert!(crate::functions::find(&name, overload.member).is_some(), "{line}");
        }
        assert!(TABLE["size"].iter().any(|o| o.member) && TABLE["size"].iter().any(|o| !o.member));
        assert!(!TABLE["optional.of"][0].member && !TABLE.contains_key("isCanonical"));
    }
}
