//! What `maxSurge` and `maxUnavailable` come to (`deploymentutil.ResolveFenceposts`).
//!
//! Invariant: not both are zero, so that a rollout always can go on.

use serde_json::Value;

/// How far a rollout may go beyond and below what is wanted, in Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// More than wanted.
    pub surge: i32,
    /// Fewer available than wanted.
    pub unavailable: i32,
}

/// Of numbers or percentages; a surge is rounded up, what may be unavailable down.
#[must_use]
pub fn resolve(surge: &Value, unavailable: &Value, wanted: i32) -> Bounds {
    let bounds =
        Bounds { surge: scaled(surge, wanted, true), unavailable: scaled(unavailable, wanted, false) };
    if bounds == (Bounds { surge: 0, unavailable: 0 }) { Bounds { unavailable: 1, ..bounds } } else { bounds }
}

/// A number, or a percentage of `total` (`intstr.GetScaledValueFromIntOrPercent`); 0 if it is neither. It is
/// rounded up, or down.
#[must_use]
pub fn scaled(value: &Value, total: i32, up: bool) -> i32 {
    if let Some(number) = value.as_i64() {
        return i32::try_from(number.max(0)).unwrap_or(i32::MAX);
    }
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')?.parse::<u32>().ok()).unwrap_or(0);
    let product = i64::from(percent) * i64::from(total.max(0));
    let scaled = if up { (product + 99) / 100 } else { product / 100 };
    i32::try_from(scaled).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds() {
        for (surge, unavailable, wanted, want) in [
            (json!("25%"), json!("25%"), 10, (3, 2)),
            (json!("25%"), json!("25%"), 1, (1, 0)),
            (json!("0%"), json!("25%"), 1, (0, 1)),
            (json!(0), json!(0), 5, (0, 1)),
            (json!(2), json!("100%"), 5, (2, 5)),
            (json!("1%"), json!(0), 0, (0, 1)),
        ] {
            let Bounds { surge: s, unavailable: u } = resolve(&surge, &unavailable, wanted);
            assert_eq!((s, u), want, "{surge} {unavailable} {wanted}");
        }
    }
}
