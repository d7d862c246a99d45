//! Rules that the compiler does not know: which crate may import which, which lints pure crates obey, licences, banned
//! crates, file headers, file sizes. Facts come from `cargo metadata` and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{output, root};

/// Which of our crates each of our crates may import. A crate that is missing here may import none.
const EDGES: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("cel", &["base"]),
    ("schema", &["base"]),
    ("kinds", &["base", "cel", "schema"]),
    ("scheduler", &["base", "schema", "kinds"]),
    ("lifecycle", &["base", "schema", "kinds"]),
    ("store", &["base"]),
    ("client", &["base", "schema", "kinds"]),
    ("counting", &[]),
    ("listen", &[]),
    ("apiserver", &["base", "cel", "schema", "kinds", "client", "listen", "store"]),
    ("controllers", &["base", "schema", "kinds", "client", "scheduler"]),
    ("images", &["base"]),
    ("net", &["base"]),
    ("dns", &["client"]),
    ("runtime", &["base", "shim"]),
    ("shim", &[]),
    ("node", &["base", "schema", "kinds", "client", "listen", "lifecycle", "images", "net", "runtime"]),
    ("xtask", &[]),
];

/// Programs and tests that may import everything.
const TOP: &[&str] = &["minke", "sim"];

/// Crates without I/O, clock or randomness, and what they may therefore never depend on.
const PURE: &[&str] = &["base", "cel", "schema", "kinds", "scheduler", "lifecycle"];
const IMPURE: &[&str] = &["tokio", "rand", "getrandom", "rustix", "libc", "nix", "hyper", "rusqlite"];

/// What clippy forbids in pure crates (clocks, files, threads); each of them links to it as its `clippy.toml`.
const PURE_LINTS: &str = "clippy.pure.toml";

/// Crates that must not appear anywhere, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "needs a system library; rustls serves"),
    ("aws-lc-rs", "needs cmake; ring serves"),
    ("aws-lc-sys", "needs cmake; ring serves"),
    ("serde_yaml", "unmaintained; serde-saphyr serves"),
    ("libcontainer", "we are the runtime"),
    ("rustables", "GPL"),
    ("spdy-mux", "GPL"),
    ("kube-portforward", "GPL"),
    ("prost-build", "calls protoc"),
    ("cmake", "the build needs cargo and a C compiler only"),
];

/// Licences that we accept; an expression passes if one of its OR branches consists of these only.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "0BSD",
    "MIT-0",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "Unlicense",
    "Apache-2.0 WITH LLVM-exception",
    "bzip2-1.0.6",
    "MPL-2.0",
];

/// Where a kind is known by its row and a subresource by its role, never by name; the crates of the generic path.
const NAMELESS: &[&str] = &["crates/apiserver/src/", "crates/schema/src/", "crates/controllers/src/"];
/// The crates whose modules import one way: the folder of the sources, and its modules from the lowest to the highest.
const LAYERS: &[(&str, &[&str])] =
    &[("crates/apiserver/src/", &["context", "catalogue", "admission", "generic", "http", "facade"])];

/// Comparisons with a name.
const NAME_COMPARED: &[&str] = &[
    "plural == \"",
    "plural != \"",
    "resource == \"",
    "resource != \"",
    "bucket == \"",
    "bucket != \"",
    "sub.name == \"",
    "s.name == \"",
];
/// Who may compare names all the same: upstream's reading of paths, and rules of authorization, which are made of names.
const NAMES_ALLOWED: &[&str] =
    &["crates/apiserver/src/context/request.rs", "crates/apiserver/src/context/authz/"];

/// Production lines a file may have before it must be split.
const MAX_LINES: usize = 1000;

/// Checks everything; all violations are listed in the error.
///
/// # Errors
/// If a rule is violated, or cargo fails.
pub fn check() -> Result<()> {
    let metadata: Value =
        serde_json::from_str(&output("cargo", &["metadata", "--format-version", "1", "--locked"])?)?;
    let packages = metadata["packages"].as_array().context("packages in cargo metadata")?;
    let ours: BTreeSet<&str> =
        packages.iter().filter(|p| p["source"].is_null()).filter_map(|p| p["name"].as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if ours.contains(name) && package["source"].is_null() {
            found.extend(edges(name, package, &ours));
        } else {
            found.extend(foreign(name, package));
        }
    }
    found.extend(pure_lints(&root())?);
    for file in sources(&root())? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        found.extend(source(file.strip_prefix(root()).unwrap_or(&file), &text));
    }
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(())
}

/// Pure crates must be linted as such, and by everything that the other crates are linted by.
fn pure_lints(root: &Path) -> Result<Vec<String>> {
    let read = |path: PathBuf| fs::read_to_string(&path).with_context(|| path.display().to_string());
    let (common, pure) = (read(root.join("clippy.toml"))?, read(root.join(PURE_LINTS))?);
    let mut found: Vec<String> = common
        .lines()
        .filter(|line| !pure.lines().any(|l| l == *line))
        .map(|line| format!("{PURE_LINTS} lacks {line:?} of clippy.toml"))
        .collect();
    for name in PURE {
        let own = root.join("crates").join(name).join("clippy.toml");
        if fs::read_to_string(&own).ok().as_ref() != Some(&pure) {
            found.push(format!("{name} is pure: crates/{name}/clippy.toml must link to {PURE_LINTS}"));
        }
    }
    Ok(found)
}

fn edges(name: &str, package: &Value, ours: &BTreeSet<&str>) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut found = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let (to, dev) = (dependency["name"].as_str().unwrap_or_default(), dependency["kind"] == "dev");
        let forbidden =
            ours.contains(to) && !TOP.contains(&name) && !allowed.get(name).is_some_and(|a| a.contains(&to));
        if forbidden && !dev {
            found.push(format!("{name} must not import {to}"));
        }
        if PURE.contains(&name) && !dev && IMPURE.contains(&to) {
            found.push(format!("{name} is pure and must not depend on {to}"));
        }
    }
    found
}

fn foreign(name: &str, package: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        found.push(format!("{name} is banned: {why}"));
    }
    let licence = package["license"].as_str().unwrap_or_default();
    if !accepted(licence) {
        found.push(format!("{name} has the licence {licence:?}, which is not on the list"));
    }
    found
}

/// Whether one OR branch of a licence expression is made of accepted licences. An old `A/B` means `A OR B`.
fn accepted(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let plain = |part: &str| LICENCES.contains(&part.trim().trim_matches(['(', ')']).trim());
    plain(&expression)
        || expression.split(" AND ").all(|term| term.trim().trim_matches(['(', ')']).split(" OR ").any(plain))
        || expression.split(" OR ").any(|term| term.trim_matches(['(', ')']).split(" AND ").all(plain))
}

/// Every Rust source of ours, tests included.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = output("git", &["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"])?;
    Ok(listed.lines().map(|line| root.join(line)).filter(|path| path.is_file()).collect())
}

fn source(file: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let name = file.display();
    if !text.trim_start_matches("#!").starts_with("//!") {
        found.push(format!("{name} does not open with //!: its role, its invariant, what is absent"));
    }
    let production = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    let path = name.to_string();
    let within = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    if within(NAMELESS) && !within(NAMES_ALLOWED) {
        let named = |line: &&str| NAME_COMPARED.iter().any(|compared| line.contains(compared));
        found.extend(text.lines().take(production).filter(named).map(|line| {
            format!("{path} knows a resource by its name, not by its row or role: {}", line.trim())
        }));
    }
    found.extend(layers(&path, text.lines().take(production)));
    if production > MAX_LINES {
        found.push(format!("{name} has {production} production lines; split it"));
    }
    for word in ["FIXME", "XXX:", "HACK:"] {
        if text.contains(word) && !name.to_string().ends_with("tidy.rs") {
            found.push(format!("{name} contains {word}"));
        }
    }
    if text.lines().any(|line| line.trim_start().starts_with("#[ignore")) {
        found.push(format!("{name} ignores a test"));
    }
    found
}

/// What a file imports of its crate that is not in a lower layer, or in none. Tests may use everything.
fn layers<'a>(path: &str, production: impl Iterator<Item = &'a str>) -> Vec<String> {
    let Some((place, layers)) = LAYERS.iter().find(|(folder, _)| path.starts_with(folder)) else {
        return Vec::new();
    };
    let own = path[place.len()..].split(['/', '.']).next().unwrap_or_default();
    if own == "lib" || path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let rank = |module: &str| layers.iter().position(|layer| *layer == module);
    let Some(own_rank) = rank(own) else { return vec![format!("{path} is in no layer of {place}")] };
    let code = production.filter(|line| !line.trim_start().starts_with("//"));
    let imported = code.flat_map(|line| line.split("crate::").skip(1));
    let name =
        |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    let wrong = imported.map(name).filter(|module| rank(module).is_none_or(|rank| rank > own_rank));
    wrong.map(|module| format!("{path} is in the layer {own} and must not import crate::{module}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_import_one_way() {
        let said =
            |file: &str, text: &str| layers(&format!("crates/apiserver/src/{file}"), text.lines()).len();
        for (file, text, wrong) in [
            ("generic/list.rs", "use crate::context::object;\nuse crate::generic::Ctx;", 0),
            ("generic/list.rs", "use crate::http::Site;", 1),
            ("context/object.rs", "fn f() { crate::generic::f(crate::facade::g()) }", 2),
            ("context/object.rs", "use crate::Server;", 1),
            ("facade/server.rs", "use crate::{http, generic};", 1),
            ("context/object.rs", "// as crate::generic does", 0),
            ("admission/tests.rs", "use crate::facade::Server;", 0),
            ("loose.rs", "", 1),
            ("lib.rs", "mod http;", 0),
        ] {
            assert_eq!(said(file, text), wrong, "{file}: {text}");
        }
        assert!(layers("crates/store/src/view.rs", ["use crate::ring::Ring;"].into_iter()).is_empty());
    }

    #[test]
    fn licence_expressions() {
        for (expression, good) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0", false),
            ("GPL-2.0 OR MIT", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("MIT AND GPL-3.0", false),
            ("", false),
        ] {
            assert_eq!(accepted(expression), good, "{expression}");
        }
    }

    #[test]
    fn sources_need_a_header() {
        assert!(source(Path::new("a.rs"), "//! A.\n").is_empty());
        assert_eq!(source(Path::new("a.rs"), "fn a() {}\n").len(), 1);
    }
}
