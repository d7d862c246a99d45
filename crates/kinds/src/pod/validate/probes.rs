//! Probes and lifecycle hooks (`validateProbe`, `validateHandler`).

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::names;
use crate::value::{int, is_set, items, size, text};

/// One probe; `kind` is its field's name.
pub(super) fn probe(errors: &mut ErrorList, path: &Path<'_>, probe: &Value, kind: &str, grace: Option<i64>) {
    handler(errors, path, probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        let value = int(&probe[field]);
        if value < 0 {
            errors.invalid(&path.child(field), value, "must be greater than or equal to 0");
        }
    }
    let own_grace = &probe["terminationGracePeriodSeconds"];
    let grace_path = path.child("terminationGracePeriodSeconds");
    if own_grace.as_i64().is_some_and(|g| g <= 0) {
        errors.invalid(&grace_path, own_grace.clone(), "must be greater than 0");
    }
    if kind == "readinessProbe" {
        if is_set(own_grace) {
            errors.invalid(&grace_path, own_grace.clone(), "must not be set for readinessProbes");
        }
    } else if int(&probe["successThreshold"]) != 1 {
        let value = int(&probe["successThreshold"]);
        errors.invalid(&path.child("successThreshold"), value, "must be 1");
    }
}

/// What a probe or hook does: exactly one of `kinds`.
pub(super) fn handler(
    errors: &mut ErrorList,
    path: &Path<'_>,
    h: &Value,
    kinds: &[&str],
    grace: Option<i64>,
) {
    let mut found = 0;
    for kind in kinds {
        let action = &h[*kind];
        if !is_set(action) {
            continue;
        }
        found += 1;
        let path = path.child(kind);
        if found > 1 {
            errors.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                if size(&action["command"]) == 0 {
                    errors.required(&path.child("command"), "");
                }
            }
            "httpGet" => http_get(errors, &path, action),
            "sleep" => sleep(errors, &path, action, grace),
            _ => port(errors, &path.child("port"), &action["port"]),
        }
    }
    if found == 0 {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(errors: &mut ErrorList, path: &Path<'_>, get: &Value) {
    if text(&get["path"]).is_empty() {
        errors.required(&path.child("path"), "");
    }
    port(errors, &path.child("port"), &get["port"]);
    let scheme = text(&get["scheme"]);
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in items(&get["httpHeaders"]) {
        let name = text(&header["name"]);
        names::check(errors, &path.child("httpHeaders"), name, names::header_name(name));
    }
}

fn sleep(errors: &mut ErrorList, path: &Path<'_>, sleep: &Value, grace: Option<i64>) {
    let seconds = int(&sleep["seconds"]);
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, seconds, detail);
    }
}

/// A number or the name of a port.
fn port(errors: &mut ErrorList, path: &Path<'_>, port: &Value) {
    if let Some(name) = port.as_str() {
        names::check(errors, path, name, names::port_name(name));
    } else {
        for complaint in names::port_number(int(port)) {
            errors.invalid(path, int(port), complaint);
        }
    }
}
