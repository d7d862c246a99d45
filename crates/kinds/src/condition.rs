//! What a status's conditions must be where they are of the common type (`metav1.Condition`), as
//! `ValidateConditions` tells it.
//!
//! Invariant: errors in upstream's order. Absent: setting one (`rules::conditions`).

use schema::validation::{At, Run, field};

use crate::names;

const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;

schema::rules! {
    CONDITION: "io.k8s.apimachinery.pkg.apis.meta.v1.Condition" = [
        field("type").with(kind),
        field("status").one_of(&["False", "True", "Unknown"]),
        field("observedGeneration").at_least_as(0, "must be greater than or equal to zero"),
        field("lastTransitionTime").required_as("must be set"),
        field("reason").required_as("must be set").format(reason).max_bytes(MAX_REASON),
        field("message").max_bytes(MAX_MESSAGE),
    ];
}

fn kind<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    names::check_qualified(run, at, at.text());
}

fn reason(text: &str) -> Vec<String> {
    let (first, last) = (text.bytes().next(), text.bytes().last());
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':');
    let legal = first.is_some_and(|b| b.is_ascii_alphabetic())
        && last.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(inner);
    let complaint = "a condition reason must start with alphabetic character, optionally followed by a string of \
                     alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                     'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used \
                     for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
    if legal { Vec::new() } else { vec![complaint.to_owned()] }
}

/// All of a list, no type twice.
pub(crate) fn all<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut met = Vec::new();
    for item in at.items() {
        let kind = item.text_of("type");
        if met.contains(&kind) {
            run.duplicate(&item.child("type"), kind);
        } else {
            met.push(kind);
        }
        CONDITION.check(&item, run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_exist_and_reasons_are_words() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        for (text, legal) in
            [("A", true), ("ReasonA:ReasonB", true), ("a_", true), ("1a", false), ("a:", false)]
        {
            assert_eq!(reason(text).is_empty(), legal, "{text}");
        }
    }
}
