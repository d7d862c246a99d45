//! Volumes whose plugin is gone, and volumes whose files have paths in each other's way.

use std::fmt;

use serde_json::Value;

use super::whole_bytes;
use crate::field::{Path, quote};
use crate::value::{entries, is_set, items, text};

/// Volume types that are nothing any more, as warnings name them.
const GONE: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Types that are gone, and claims of part of a byte.
pub(super) fn plugins(found: &mut Vec<String>, path: &Path<'_>, volumes: &Value) {
    for (i, volume) in items(volumes).iter().enumerate() {
        let path = path.index(i);
        gone(found, &path, volume);
        let spec = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        let path = path.child("ephemeral.volumeClaimTemplate.spec.resources");
        for amounts in ["requests", "limits"] {
            whole_bytes(found, &path.child(amounts), &spec["resources"][amounts], "storage");
        }
    }
}

/// The types that are gone among the fields of what has one.
pub(crate) fn gone(found: &mut Vec<String>, path: &Path<'_>, volume: &Value) {
    for (_, shown, what) in GONE.iter().filter(|(kind, _, _)| is_set(&volume[*kind])) {
        found.push(format!("{}: {what}", path.child(shown)));
    }
}

/// A file of a volume and what it comes from.
#[derive(Clone, PartialEq)]
struct File {
    path: String,
    source: String,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.path))?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}

impl File {
    fn is_in_the_way_of(&self, other: &Self) -> bool {
        let (a, b) = (format!("{}/", self.path), format!("{}/", other.path));
        !self.path.is_empty() && !other.path.is_empty() && (a.starts_with(&b) || b.starts_with(&a))
    }
}

/// Files that are the same, or one a directory of another.
pub(super) fn overlaps(found: &mut Vec<String>, volumes: &Value) {
    for volume in items(volumes) {
        let name = quote(text(&volume["name"]));
        for (kind, described) in [
            ("configMap", format!("ConfigMap {}", quote(text(&volume["configMap"]["name"])))),
            ("secret", format!("Secret {}", quote(text(&volume["secret"]["secretName"])))),
            ("downwardAPI", "DownwardAPI".to_owned()),
        ] {
            among(found, &name, &described, listed(&volume[kind]["items"], ""));
        }
        let mut files = Vec::new();
        for source in items(&volume["projected"]["sources"]) {
            match sources(source) {
                Some(more) => files.extend(more),
                None => found.push(format!("volume {name} (Projected) has no sources provided")),
            }
        }
        among(found, &name, "Projected", files);
    }
}

fn among(found: &mut Vec<String>, volume: &str, described: &str, files: Vec<File>) {
    for (i, file) in files.iter().enumerate() {
        for other in files[..i].iter().filter(|other| file.is_in_the_way_of(other)) {
            found.push(format!("volume {volume} ({described}): overlapping paths: {file} with {other}"));
        }
    }
}

fn listed(files: &Value, source: &str) -> Vec<File> {
    items(files).iter().map(|file| one(&file["path"], source)).collect()
}

fn one(path: &Value, source: &str) -> File {
    File { path: text(path).trim_end_matches('/').to_owned(), source: source.to_owned() }
}

/// The files of one source of a projected volume; `None` if it has none of the sources there are.
fn sources(source: &Value) -> Option<Vec<File>> {
    let (kind, part) = entries(source).find(|(_, part)| is_set(part))?;
    let named = |what: &str| format!("{what} {}", quote(text(&part["name"])));
    Some(match kind {
        "configMap" => listed(&part["items"], &named("ConfigMap")),
        "secret" => listed(&part["items"], &named("Secret")),
        "downwardAPI" => listed(&part["items"], "DownwardAPI"),
        "serviceAccountToken" => vec![one(&part["path"], "ServiceAccountToken")],
        _ => Vec::new(),
    })
}
