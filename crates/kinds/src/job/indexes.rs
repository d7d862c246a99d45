//! Completion indexes of an Indexed Job: sets of them as text (`0,2-4`), and what a Pod of an index carries.
//!
//! Invariant: the text is upstream's compressed form: two neighbours are joined by a comma, three or more by a dash.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use crate::view::Meta;

/// Annotation and label.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const ENV: &str = "JOB_COMPLETION_INDEX";

/// A set of indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<u32>);

impl Indexes {
    /// Reads the text; parts that are no numbers are skipped, as upstream does.
    pub(super) fn parse(text: &str) -> Self {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
        };
        Self(text.split(',').filter_map(range).flatten().collect())
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    pub(super) fn total(&self) -> usize {
        self.0.len()
    }

    pub(super) fn extend(&mut self, indexes: impl IntoIterator<Item = u32>) {
        self.0.extend(indexes);
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for index in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => ranges.push((*index, *index)),
            }
        }
        let text = |(first, last): &(u32, u32)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        };
        f.write_str(&ranges.iter().map(text).collect::<Vec<_>>().join(","))
    }
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
            assert_eq!(Indexes::parse(text).to_string(), text);
        }
        assert_eq!(Indexes::parse("0-4").total(), 5);
        assert_eq!(Indexes::parse("x,2").to_string(), "2");
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
