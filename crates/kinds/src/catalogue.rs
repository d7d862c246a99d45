//! The kinds that are served at one moment.
//!
//! Invariant: a catalogue never changes; when kinds come or go another one, of a higher generation, takes its place, so
//! whoever holds one sees all of it and nothing of the next. Identity is group and kind; versions of one kind share a
//! bucket. Absent: who holds the current one (the API server), and which kinds are built in (the table in `lib.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::kind::Kind;

/// A set of kinds: groups in the order discovery lists them, and in a group its preferred version first.
#[derive(Debug, Default)]
pub struct Catalogue {
    generation: u64,
    kinds: Vec<Arc<Kind>>,
    by_plural: HashMap<String, Vec<usize>>,
    by_kind: HashMap<String, Vec<usize>>,
}

impl Catalogue {
    /// A catalogue of these.
    #[must_use]
    pub fn new(generation: u64, kinds: Vec<Arc<Kind>>) -> Self {
        let (mut by_plural, mut by_kind) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (at, kind) in kinds.iter().enumerate() {
            by_plural.entry(kind.plural.clone()).or_default().push(at);
            by_kind.entry(kind.kind.clone()).or_default().push(at);
        }
        Self { generation, kinds, by_plural, by_kind }
    }

    /// Which catalogue this is: one that takes the place of another has a higher number.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All kinds, each in each served version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }

    /// The kinds of one group and version.
    pub fn of<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
        self.iter().filter(move |k| k.group == group && k.version == version)
    }

    /// Every stored kind once: the first of those that share a bucket.
    pub fn stored(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let first = |at: usize, kind: &Kind| !self.kinds[..at].iter().any(|k| k.bucket == kind.bucket);
        self.kinds.iter().enumerate().filter(move |(at, k)| k.is_stored() && first(*at, k)).map(|(_, k)| k)
    }

    /// The kinds whose objects go with their owners, each once.
    pub fn collected(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.stored().filter(|k| k.collected && ["delete", "watch"].iter().all(|v| k.verbs.contains(v)))
    }

    /// The kinds whose objects go with their namespace, each once.
    pub fn namespaced(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.stored().filter(|k| k.namespaced && k.verbs.contains(&"deletecollection"))
    }

    /// The groups with their versions, the preferred one first.
    #[must_use]
    pub fn groups(&self) -> Vec<(&str, Vec<&str>)> {
        let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
        for kind in &self.kinds {
            let (group, version) = (kind.group.as_str(), kind.version.as_str());
            match out.iter_mut().find(|(known, _)| *known == group) {
                Some((_, versions)) if versions.contains(&version) => {}
                Some((_, versions)) => versions.push(version),
                None => out.push((group, vec![version])),
            }
        }
        out
    }

    /// Whether a group and version is served.
    #[must_use]
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.of(group, version).next().is_some()
    }

    /// The kind served at a path.
    #[must_use]
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.named(&self.by_plural, plural).find(|k| k.group == group && k.version == version)
    }

    /// The kind of a manifest.
    #[must_use]
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.named(&self.by_kind, kind).find(|k| k.group == group && k.version == version)
    }

    /// A kind by its identity, in its preferred version.
    #[must_use]
    pub fn by_group_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.named(&self.by_kind, kind).find(|k| k.group == group)
    }

    /// The kind whose objects are in a bucket, in its preferred version.
    #[must_use]
    pub fn by_bucket(&self, bucket: &str) -> Option<&Arc<Kind>> {
        let plural = bucket.split_once('.').map_or(bucket, |(plural, _)| plural);
        self.named(&self.by_plural, plural).find(|k| *k.bucket == *bucket)
    }

    fn named<'a>(
        &'a self,
        index: &'a HashMap<String, Vec<usize>>,
        name: &str,
    ) -> impl Iterator<Item = &'a Arc<Kind>> {
        index.get(name).into_iter().flatten().map(|at| &self.kinds[*at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Kind, Strategy};

    #[derive(Debug)]
    struct Plain;
    impl Strategy for Plain {}

    fn names(kinds: Vec<&Arc<Kind>>) -> Vec<String> {
        kinds.iter().map(|k| format!("{}/{}", k.api_version(), k.kind)).collect()
    }

    #[test]
    fn versions_and_foreign_kinds() {
        let made = |group: &str, version: &str| Kind::new([group, version], ["Job", "jobs"], Plain);
        let catalogue = Catalogue::new(
            3,
            vec![
                made("batch", "v2").build(),
                made("batch", "v1").stored_as("batch", "v2").build(),
                made("example.com", "v1").cluster_wide().build(),
                Kind::new(["reviews", "v1"], ["Review", "reviews"], Plain).answered().build(),
            ],
        );
        assert_eq!(catalogue.generation(), 3);
        assert_eq!(names(catalogue.stored().collect()), ["batch/v2/Job", "example.com/v1/Job"]);
        assert_eq!(names(catalogue.namespaced().collect()), ["batch/v2/Job"]);
        assert_eq!(names(catalogue.collected().collect()), ["batch/v2/Job", "example.com/v1/Job"]);
        assert_eq!(catalogue.groups()[0], ("batch", vec!["v2", "v1"]));
        let bucket = |kind: Option<&Arc<Kind>>| kind.map(|k| k.bucket.to_string());
        assert_eq!(bucket(catalogue.by_resource("batch", "v1", "jobs")).as_deref(), Some("jobs.batch"));
        assert_eq!(bucket(catalogue.by_kind("example.com/v1", "Job")).as_deref(), Some("jobs.example.com"));
        assert_eq!(catalogue.by_group_kind("batch", "Job").map(|k| &*k.version), Some("v2"));
        assert_eq!(catalogue.by_bucket("jobs.batch").map(|k| &*k.version), Some("v2"));
        assert!(catalogue.by_bucket("jobs").is_none() && catalogue.by_kind("v1", "Job").is_none());
        assert!(catalogue.serves("batch", "v1") && !catalogue.serves("batch", "v3"));
    }
}
