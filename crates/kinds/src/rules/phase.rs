//! How far a Pod is (`controller.IsPodActive`, `podutil.IsPodPhaseTerminal`).
//!
//! Invariant: every Pod is exactly one of finished, active and terminating.

/// Whether nothing follows this phase: the Pod holds nothing on its node any more.
#[must_use]
pub fn is_finished(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// Neither finished nor being deleted.
#[must_use]
pub fn is_active(phase: &str, deleting: bool) -> bool {
    !is_finished(phase) && !deleting
}

/// Being deleted and not finished.
#[must_use]
pub fn is_terminating(phase: &str, deleting: bool) -> bool {
    !is_finished(phase) && deleting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_three() {
        for (phase, deleting, want) in [
            ("", false, "active"),
            ("Pending", false, "active"),
            ("Running", false, "active"),
            ("Unknown", true, "terminating"),
            ("Running", true, "terminating"),
            ("Succeeded", false, "finished"),
            ("Failed", true, "finished"),
        ] {
            let is = [
                ("finished", is_finished(phase)),
                ("active", is_active(phase, deleting)),
                ("terminating", is_terminating(phase, deleting)),
            ];
            let found: Vec<&str> = is.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
            assert_eq!(found, [want], "{phase} {deleting}");
        }
    }
}
