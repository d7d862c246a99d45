//! Field numbers from `generated.proto` files.
//!
//! Invariant: reads the flat form that go-to-protobuf writes (no nested messages, no options on fields). Deliberately
//! absent: everything else of the protobuf language.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One field of a message.
#[derive(Debug, Clone)]
pub struct ProtoField {
    /// Name, as in JSON but for `$` and dashes.
    pub name: String,
    /// Full name of a message type, empty for scalars and maps.
    pub message: String,
    /// Number.
    pub number: u32,
}

/// Full message name, as swagger writes it (`io.k8s.api.core.v1.Pod`), to fields.
pub type Messages = BTreeMap<String, Vec<ProtoField>>;

/// Reads every `.proto` file below a folder.
///
/// # Errors
/// If a file cannot be read or a field line has no number.
pub fn read(dir: &Path) -> Result<Messages> {
    let mut out = Messages::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                parse(&fs::read_to_string(&path)?, &mut out).with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(out)
}

/// `k8s.io.api.core.v1` is `io.k8s.api.core.v1` in swagger.
fn swagger_name(proto: &str) -> String {
    format!("io.k8s.{}", proto.trim_start_matches('.').trim_start_matches("k8s.io.").replace('_', "-"))
}

fn parse(text: &str, out: &mut Messages) -> Result<()> {
    let mut package = "";
    let mut message: Option<String> = None;
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
        if let Some(name) = line.strip_prefix("package ") {
            package = name.trim_end_matches(';');
        } else if let Some(name) = line.strip_prefix("message ") {
            let name = swagger_name(&format!("{package}.{}", name.trim_end_matches('{').trim()));
            out.insert(name.clone(), Vec::new());
            message = Some(name);
        } else if line == "}" {
            message = None;
        } else if let (Some(current), true) = (&message, line.ends_with(';')) {
            let (left, number) =
                line.trim_end_matches(';').rsplit_once(" = ").context("a field without number")?;
            let (ty, name) = left.rsplit_once(' ').context("a field without type")?;
            let ty = ty.rsplit(' ').next().unwrap_or_default();
            let message = match ty {
                "string" | "bytes" | "bool" | "int32" | "int64" | "double" => String::new(),
                _ if ty.ends_with('>') || left.starts_with("map<") => String::new(),
                _ if ty.starts_with('.') => swagger_name(ty),
                _ => swagger_name(&format!("{package}.{ty}")),
            };
            let field = ProtoField { name: name.to_owned(), message, number: number.parse()? };
            out.get_mut(current).context("the current message")?.push(field);
        }
    }
    Ok(())
}

/// The numbers that lead to a JSON field: one, or the way through messages that JSON inlines. `known` says whether a
/// name is a JSON field of its own, which cannot be an inlined message.
pub fn numbers(messages: &Messages, of: &str, json: &str, known: &dyn Fn(&str) -> bool) -> Option<Vec<u32>> {
    let wanted = plain(json);
    let fields = messages.get(of)?;
    if let Some(field) = fields.iter().find(|f| f.name == json || plain(&f.name) == wanted) {
        return Some(vec![field.number]);
    }
    for field in fields.iter().filter(|f| !f.message.is_empty() && !known(&f.name)) {
        if let Some(mut rest) = numbers(messages, &field.message, json, &|_| false) {
            rest.insert(0, field.number);
            return Some(rest);
        }
    }
    None
}

/// `x-kubernetes-list-type` and `xKubernetesListType` alike.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "package k8s.io.api.core.v1;\n\
        message Volume {\n  // optional string no = 9;\n  optional string name = 1;\n\
        optional VolumeSource volumeSource = 2;\n}\n\
        message VolumeSource {\n  optional .k8s.io.apimachinery.pkg.x.v1.Y hostPath = 1;\n\
        map<string, Z> xKubernetesThing = 7;\n}\n";

    #[test]
    fn numbers_lead_through_inlined_messages() {
        let mut messages = Messages::new();
        parse(TEXT, &mut messages).expect("parses");
        let volume = "io.k8s.api.core.v1.Volume";
        let of = |json: &str| numbers(&messages, volume, json, &|name| name == "name");
        assert_eq!(of("name"), Some(vec![1]));
        assert_eq!(of("hostPath"), Some(vec![2, 1]));
        assert_eq!(of("x-kubernetes-thing"), Some(vec![2, 7]));
        assert_eq!(of("no"), None);
        assert_eq!(messages["io.k8s.api.core.v1.VolumeSource"][0].message, "io.k8s.apimachinery.pkg.x.v1.Y");
        assert!(parse("package a;\nmessage B {\n optional string c;\n}", &mut messages).is_err());
    }
}
