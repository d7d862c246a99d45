//! The options of a call, checked as upstream's `CreateOptions`, `UpdateOptions`, `PatchOptions` and `DeleteOptions`
//! are.
//!
//! Invariant: they are checked after authorization and before a body is decoded. Absent: the options of reads (`list`,
//! `watch`).

use client::{PatchType, Status};
use kinds::{ErrorList, Path};
use serde_json::{Value, json};

use crate::admission::Operation;
use crate::context::request::{FieldValidation, Params};

/// Whose options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Create,
    Update,
    Patch(PatchType),
}

/// Refuses what no write of this sort may ask for.
pub(crate) fn check(params: &Params, of: Of) -> Result<(), Status> {
    let mut errors = ErrorList::default();
    let kind = match of {
        Of::Create => "CreateOptions",
        Of::Update => "UpdateOptions",
        Of::Patch(_) => "PatchOptions",
    };
    match of {
        Of::Patch(PatchType::Apply) if params.field_manager.is_empty() => {
            errors.required(&Path::new("fieldManager"), "is required for apply patch");
        }
        Of::Patch(patch) if patch != PatchType::Apply && params.force.is_some() => {
            errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
        }
        _ => {}
    }
    errors.extend(kinds::meta::field_manager(&params.field_manager, &Path::new("fieldManager")));
    dry_run(&mut errors, &params.odd_dry_run);
    if let Some(odd) = &params.odd_validation {
        let known = ["", "Ignore", "Strict", "Warn"];
        errors.not_supported(&Path::new("fieldValidation"), odd.as_str(), &known);
    }
    refuse(kind, &errors)
}

/// The options of a write as admission sees them. Those of a patch are an update's, as upstream's.
pub(crate) fn written(params: &Params, operation: Operation) -> Value {
    let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if params.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if !params.field_manager.is_empty() {
        options["fieldManager"] = params.field_manager.as_str().into();
    }
    let strict = (params.field_validation == FieldValidation::Strict).then_some("Strict");
    if let Some(asked) = params.get("fieldValidation").filter(|asked| !asked.is_empty()).or(strict) {
        options["fieldValidation"] = asked.into();
    }
    options
}

/// The error of a `dryRun` that holds something other than `All`; none if `odd` is empty.
pub(crate) fn dry_run(errors: &mut ErrorList, odd: &[String]) {
    if !odd.is_empty() {
        errors.not_supported(&Path::new("dryRun"), json!(odd), &["All"]);
    }
}

/// 422 about options, if there are errors.
pub(crate) fn refuse(kind: &str, errors: &ErrorList) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals() {
        let table = [
            (Of::Create, "dryRun=All&fieldValidation=Warn&fieldManager=m", ""),
            (
                Of::Create,
                "dryRun=Some",
                r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All""#,
            ),
            (
                Of::Update,
                "fieldValidation=Bad",
                r#"UpdateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Bad": supported values: "", "Ignore", "Strict", "Warn""#,
            ),
            (
                Of::Patch(PatchType::Apply),
                "force=true",
                r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
            ),
            (
                Of::Patch(PatchType::Merge),
                "force=false",
                r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#,
            ),
            (Of::Patch(PatchType::Merge), "", ""),
        ];
        for (of, query, want) in table {
            let got = check(&Params::parse(query), of).err().map(|s| s.message).unwrap_or_default();
            assert_eq!(got, want, "{query}");
        }
    }
}
