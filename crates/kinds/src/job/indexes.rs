//! Completion indexes of an Indexed Job: sets of them as text (`0,2-4`), and what a Pod of an index carries.
//!
//! Invariant: the text is upstream's compressed form: two neighbours are joined by a comma, three or more by a dash.

use std::fmt;

use serde_json::{Value, json};

use crate::view::Meta;

/// Annotation and label.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const ENV: &str = "JOB_COMPLETION_INDEX";

/// A set of indexes, as ranges: the API lets a Job have two thousand million of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    /// (first, last), sorted, neither overlapping nor adjacent.
    ranges: Vec<(u32, u32)>,
}

impl Indexes {
    /// Reads the text; parts that are no numbers are skipped and what is not below `limit` is cut off, as upstream does.
    pub(super) fn parse(text: &str, limit: u32) -> Self {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) =
                (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?.min(limit.checked_sub(1)?));
            (first <= last).then_some((first, last))
        };
        Self::merged(text.split(',').filter_map(range).collect())
    }

    pub(super) fn total(&self) -> usize {
        self.ranges.iter().map(|(first, last)| (last - first) as usize + 1).sum()
    }

    pub(super) fn extend(&mut self, indexes: impl IntoIterator<Item = u32>) {
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.extend(indexes.into_iter().map(|i| (i, i)));
        *self = Self::merged(ranges);
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }

    /// How many indexes are in both sets.
    pub(super) fn common(&self, other: &Self) -> usize {
        let overlap = |a: &(u32, u32), b: &(u32, u32)| {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last { (last - first) as usize + 1 } else { 0 }
        };
        self.ranges.iter().flat_map(|a| other.ranges.iter().map(move |b| overlap(a, b))).sum()
    }

    /// Adds all of another set.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.extend(&other.ranges);
        *self = Self::merged(ranges);
    }

    /// The first `count` indexes below `limit` that are not in the set.
    pub(super) fn free(&self, limit: u32, count: usize) -> Vec<u32> {
        let mut found = Vec::new();
        let mut from = 0;
        for (first, last) in self.ranges.iter().copied().chain([(limit, limit)]) {
            let gap = from..first.min(limit);
            found.extend(gap.take(count - found.len()));
            from = last.saturating_add(1);
        }
        found
    }

    fn merged(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(first, last): &(u32, u32)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        };
        f.write_str(&self.ranges.iter().map(text).collect::<Vec<_>>().join(","))
    }
}

/// How many indexes a user's text names; `Err` says what is wrong with it.
pub(super) fn check(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, -1);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let limits: Vec<&str> = interval.split('-').collect();
        if limits.len() > 2 {
            return Err(format!(
                "the fragment {interval:?} violates the requirement that an index interval can have at most two parts \
                 separated by '-'"
            ));
        }
        let before = total;
        for limit in limits {
            let n: i64 = limit
                .parse()
                .map_err(|_| format!("cannot convert string to integer for index: {limit:?}"))?;
            if n >= completions {
                return Err(format!("too large index: {limit:?}"));
            }
            if last >= n {
                return Err(format!("non-increasing order, previous: {last}, current: {n}"));
            }
            total += if total == before { 1 } else { n - last };
            last = n;
        }
    }
    Ok(total)
}

/// The first index that both texts name; both have passed [`check`].
pub(super) fn first_common(a: &str, b: &str) -> Option<u32> {
    let (a, b) = (Indexes::parse(a, u32::MAX), Indexes::parse(b, u32::MAX));
    let overlap = |x: &(u32, u32), y: &(u32, u32)| {
        let first = x.0.max(y.0);
        (first <= x.1.min(y.1)).then_some(first)
    };
    a.ranges.iter().flat_map(|x| b.ranges.iter().filter_map(move |y| overlap(x, y))).min()
}

/// A Pod's index.
pub(super) fn of(meta: &Meta) -> Option<u32> {
    meta.annotations.get(INDEX)?.parse().ok()
}

/// Gives a Pod about to be made its index: name, annotation, label, hostname, environment.
pub(super) fn stamp(pod: &mut Value, job: &str, index: u32) {
    let tail = format!("-{index}-");
    let base: String = job.chars().take(58usize.saturating_sub(tail.len())).collect();
    pod["metadata"]["generateName"] = json!(base + &tail);
    pod["metadata"]["annotations"][INDEX] = json!(index.to_string());
    pod["metadata"]["labels"][INDEX] = json!(index.to_string());
    pod["spec"]["hostname"] = json!(format!("{job}-{index}"));
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let mut env = container["env"].as_array().cloned().unwrap_or_default();
            if !env.iter().any(|e| e["name"] == ENV) {
                let path = format!("metadata.labels['{INDEX}']");
                env.push(
                    json!({"name": ENV, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}),
                );
            }
            container["env"] = Value::Array(env);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["", "0", "0,1", "0-2", "1,3-5,7,8", "10-20"] {
            assert_eq!(Indexes::parse(text, 30).to_string(), text);
        }
        for (text, limit, want) in
            [("x,2", 30, "2"), ("0-9,20", 5, "0-4"), ("3-1", 9, ""), ("1", 0, ""), ("2,0-1", 9, "0-2")]
        {
            assert_eq!(Indexes::parse(text, limit).to_string(), want, "{text}");
        }
        let huge = Indexes::parse("0-1999999990", 2_000_000_000);
        assert_eq!(
            (huge.total(), huge.free(2_000_000_000, 2)),
            (1_999_999_991, vec![1_999_999_991, 1_999_999_992])
        );
    }

    #[test]
    fn grows_and_has_gaps() {
        let mut set = Indexes::parse("1,3-5", 9);
        assert_eq!(set.free(9, 3), [0, 2, 6]);
        set.extend([2, 8, 0, 2]);
        assert_eq!(set.to_string(), "0-5,8");
        assert_eq!((set.total(), set.free(9, 9)), (7, vec![6, 7]));
    }

    #[test]
    fn sets() {
        let (a, b) = (Indexes::parse("0-3,7", 9), Indexes::parse("2-5,7,8", 9));
        assert_eq!((a.common(&b), b.has(5), b.has(6)), (3, true, false));
        assert_eq!((first_common("0-3,7", "2-5,7,8"), first_common("0,2", "1,3")), (Some(2), None));
        let mut both = a;
        both.merge(&b);
        assert_eq!(both.to_string(), "0-5,7,8");
    }

    #[test]
    fn what_users_write() {
        for (text, want) in [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("1,3-5,7", Ok(5)),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("1-", Err("cannot convert string to integer for index: \"\"")),
            ("8,9", Err("too large index: \"9\"")),
            ("3,2", Err("non-increasing order, previous: 3, current: 2")),
            ("3-3", Err("non-increasing order, previous: 3, current: 3")),
        ] {
            assert_eq!(check(text, 9), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_stamped_pod() {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "b"}]}]}});
        stamp(&mut pod, &"j".repeat(63), 12);
        assert_eq!(pod["metadata"]["generateName"], json!("j".repeat(54) + "-12-"));
        assert_eq!(pod["metadata"]["labels"][INDEX], "12");
        assert_eq!(pod["spec"]["containers"][0]["env"][1]["name"], ENV);
    }
}
