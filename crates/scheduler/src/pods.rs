//! The Pods of a node, copied by pointers.
//!
//! Invariant: a copy shares what does not change with what it was made of, so that a node with very many Pods costs about
//! as much to change as one with few, and two states are compared by what differs. The order means nothing.

use std::sync::Arc;

use crate::pod::PodInfo;

/// How many Pods share a pointer.
const CHUNK: usize = 64;

type Chunk = Vec<Arc<PodInfo>>;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Pods {
    /// All but the last are full.
    chunks: Vec<Arc<Chunk>>,
    count: usize,
}

impl PartialEq for Pods {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Pods {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one.
    pub fn push(&mut self, pod: Arc<PodInfo>) {
        if self.count.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::new(Chunk::new()));
        }
        if let Some(last) = self.chunks.last_mut() {
            Arc::make_mut(last).push(pod);
            self.count += 1;
        }
    }

    /// Takes one out; who came last is found first.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let found = self
            .chunks
            .iter()
            .enumerate()
            .rev()
            .find_map(|(chunk, pods)| Some((chunk, pods.iter().rposition(|p| *p.uid == *uid)?)));
        let (chunk, place) = found?;
        let last = self.chunks.last_mut()?;
        let moved = Arc::make_mut(last).pop()?;
        if last.is_empty() {
            self.chunks.pop();
        }
        self.count -= 1;
        // The last takes the place of the one that goes, unless it is that one.
        match self.chunks.get_mut(chunk).filter(|pods| place < pods.len()) {
            Some(pods) => Some(std::mem::replace(&mut Arc::make_mut(pods)[place], moved)),
            None => Some(moved),
        }
    }

    /// The Pods that came (1) and went (-1) since another state; one that only changed its place is in both.
    pub fn since<'n>(&'n self, old: &'n Self) -> impl Iterator<Item = (&'n Arc<PodInfo>, i64)> {
        let none: &'static [Arc<PodInfo>] = &[];
        let at = move |pods: &'n Self, i: usize| pods.chunks.get(i).map_or(none, |chunk| chunk);
        let same = move |i: usize| match (old.chunks.get(i), self.chunks.get(i)) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            _ => false,
        };
        let changed = (0..old.chunks.len().max(self.chunks.len())).filter(move |i| !same(*i));
        changed.flat_map(move |i| {
            let (before, after) = (at(old, i), at(self, i));
            (0..before.len().max(after.len())).flat_map(move |j| {
                let (before, after) = (before.get(j), after.get(j));
                let stays = before.zip(after).is_some_and(|(b, a)| Arc::ptr_eq(b, a));
                let gone = before.filter(|_| !stays).map(|pod| (pod, -1));
                gone.into_iter().chain(after.filter(|_| !stays).map(|pod| (pod, 1)))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(i: usize) -> Arc<PodInfo> {
        Arc::new(PodInfo { uid: i.to_string().into(), ..PodInfo::default() })
    }

    #[test]
    fn copies_share_and_tell_what_differs() {
        let mut old = Pods::default();
        (0..200).for_each(|i| old.push(pod(i)));
        let mut new = old.clone();
        assert_eq!(new.since(&old).count(), 0);
        for gone in [0, 130, 199, 128] {
            assert_eq!(new.remove(&gone.to_string()).map(|p| p.uid.to_string()), Some(gone.to_string()));
        }
        assert!(new.remove("130").is_none());
        new.push(pod(200));
        let mut sums = std::collections::BTreeMap::new();
        new.since(&old).for_each(|(p, by)| *sums.entry(p.uid.to_string()).or_insert(0) += by);
        sums.retain(|_, sum| *sum != 0);
        let want = [("0", -1), ("128", -1), ("130", -1), ("199", -1), ("200", 1)];
        assert_eq!(sums, want.map(|(uid, by)| (uid.to_owned(), by)).into());
        let mut left: Vec<usize> = new.iter().map(|p| p.uid.parse().unwrap()).collect();
        left.sort_unstable();
        let all = (0..201).filter(|i| ![0, 128, 130, 199].contains(i));
        assert_eq!((left, new.len()), (all.collect(), 197));
    }

    #[test]
    fn the_last_chunk_goes_with_its_last_pod() {
        let mut pods = Pods::default();
        (0..65).for_each(|i| pods.push(pod(i)));
        assert!(pods.remove("64").is_some() && pods.remove("3").is_some());
        assert_eq!((pods.len(), pods.iter().count()), (63, 63));
        let left: Vec<Arc<PodInfo>> = pods.iter().cloned().collect();
        left.iter().for_each(|pod| assert!(pods.remove(&pod.uid).is_some()));
        assert!(pods.is_empty() && pods.iter().next().is_none());
    }
}
