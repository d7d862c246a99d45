//! Which old revisions are kept.
//!
//! Invariant: what is still in use is kept whatever the limit is.

/// An old revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision<T> {
    /// What it is.
    pub what: T,
    /// Its number; higher is newer.
    pub number: i64,
    /// Whether something still runs of it, or it is going already.
    pub in_use: bool,
}

/// The revisions to remove so that `limit` are left, the oldest first. As upstream counts, those in use fill places but
/// are passed over.
#[must_use]
pub fn superfluous<T>(mut all: Vec<Revision<T>>, limit: usize) -> Vec<T> {
    let surplus = all.len().saturating_sub(limit);
    all.sort_by_key(|r| r.number);
    all.into_iter().take(surplus).filter(|r| !r.in_use).map(|r| r.what).collect()
}

/// The oldest revisions that nothing runs of any more, so many that `surplus` places become free.
#[must_use]
pub fn oldest_idle<T>(mut all: Vec<Revision<T>>, surplus: usize) -> Vec<T> {
    all.retain(|r| !r.in_use);
    all.sort_by_key(|r| r.number);
    all.into_iter().take(surplus).map(|r| r.what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_idle_ones_go() {
        let all = |used: i64| {
            let of = |number| Revision { what: number, number, in_use: number == used };
            vec![of(3), of(1), of(2), of(4)]
        };
        for (used, limit, want) in [
            (0, 10, vec![]),
            (0, 2, vec![1, 2]),
            (2, 2, vec![1]),
            (0, 0, vec![1, 2, 3, 4]),
            (4, 0, vec![1, 2, 3]),
        ] {
            assert_eq!(superfluous(all(used), limit), want, "{used} {limit}");
        }
        assert_eq!(oldest_idle(all(1), 2), [2, 3]);
        assert_eq!(oldest_idle(all(0), 0), [0; 0]);
    }
}
