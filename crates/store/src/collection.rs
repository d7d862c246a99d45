//! One bucket's objects at one revision, in key order, and an index of them.
//!
//! Invariants: a copy is a pointer and never changes; the index has an object under the keys that its facts say, and
//! under no other. Absent: history (the ring's) and what the index keys mean.

use std::cmp::Ordering;
use std::sync::Arc;

use base::Facts;

use crate::tree::Tree;
use crate::{Entry, Event};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    entries: Tree<ByKey>,
    index: Tree<Posting>,
}

/// An object's versions before and after, of which one may be missing.
pub type Change = (Option<Arc<Entry>>, Option<Arc<Entry>>);

/// An entry in the place of its key.
#[derive(Debug, Clone)]
struct ByKey(Arc<Entry>);

/// That the object of a key is under an index key. It holds no entry, so that a change of an object that moves nothing
/// in the index does not touch it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Posting {
    index: Arc<str>,
    key: Arc<str>,
}

/// Which part of a collection is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) start: Option<&'a str>,
    pub(crate) index: Option<&'a str>,
}

impl<'a> Part<'a> {
    /// The least key that can belong to the part.
    fn least(&self) -> &'a str {
        self.start.map_or(self.prefix, |start| start.max(self.prefix))
    }

    /// Whether an entry belongs to the part.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        entry.key.starts_with(self.prefix)
            && *entry.key >= *self.least()
            && self.index.is_none_or(|index| entry.facts().has_key(index))
    }
}

impl Collection {
    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is the very state that the other is of, or one that cannot be told from it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.entries.is_same(&other.entries)
    }

    /// The object of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        let found = self.entries.from(|item| *item.0.key < *key).next()?;
        (*found.0.key == *key).then_some(&found.0)
    }

    /// The objects whose key begins so, in key order.
    pub fn prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.keyed(Part { prefix, start: None, index: None })
    }

    /// The objects under an index key, in key order.
    pub fn indexed<'a>(&'a self, index: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.posted(Part { prefix: "", start: None, index: None }, index)
    }

    /// Changes the collection as the event says. The entries' facts come to be read.
    pub fn apply(&mut self, event: &Event) {
        let none = Arc::default();
        let before = event.previous.as_ref().map_or(&none, |previous| previous.facts());
        let after = if event.deleted { &none } else { event.entry.facts() };
        self.repost(&event.entry.key, before, after);
        self.place(event);
    }

    /// The same without the index, for who asks nothing of it.
    pub fn place(&mut self, event: &Event) {
        if event.deleted {
            self.entries.remove(&ByKey(event.entry.clone()));
        } else {
            self.entries.insert(ByKey(event.entry.clone()));
        }
    }

    /// Makes the index of what was only placed.
    pub(crate) fn build_index(&mut self) {
        let mut postings: Vec<Posting> = Vec::new();
        for ByKey(entry) in self.entries.iter() {
            let posting = |index: &Arc<str>| Posting { index: index.clone(), key: entry.key.clone() };
            postings.extend(entry.facts().keys.iter().map(posting));
        }
        // In their order, so that the tree's nodes become full.
        postings.sort_unstable();
        self.index = Tree::default();
        postings.into_iter().for_each(|posting| self.index.insert(posting));
    }

    /// What differs in a later state of the same collection, in key order.
    #[must_use]
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let (mut old, mut new) = (self.entries.iter().peekable(), later.entries.iter().peekable());
        let mut changes = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.cmp(new),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            if before.map(|b| b.0.revision) != after.map(|a| a.0.revision) {
                changes.push((before.map(|b| b.0.clone()), after.map(|a| a.0.clone())));
            }
        }
    }

    /// A page of a part, and how many objects of the part follow it.
    pub(crate) fn page(&self, part: Part<'_>, limit: usize) -> (Vec<Arc<Entry>>, usize) {
        let page: Vec<Arc<Entry>> = self.part(part).take(limit).cloned().collect();
        let all = match part.index {
            Some(index) => self.count_posted(part, index),
            None => self.count_keyed(part),
        };
        let remaining = all - page.len();
        (page, remaining)
    }

    /// The objects of a part, in key order.
    pub(crate) fn part<'a>(&'a self, part: Part<'a>) -> impl Iterator<Item = &'a Arc<Entry>> {
        let posted = part.index.map(|index| self.posted(part, index)).into_iter().flatten();
        let keyed = part.index.is_none().then(|| self.keyed(part)).into_iter().flatten();
        posted.chain(keyed)
    }

    fn keyed<'a>(&'a self, part: Part<'a>) -> impl Iterator<Item = &'a Arc<Entry>> {
        let from = part.least();
        let entries = self.entries.from(move |item| *item.0.key < *from).map(|item| &item.0);
        entries.take_while(move |entry| entry.key.starts_with(part.prefix))
    }

    fn posted<'a>(&'a self, part: Part<'a>, index: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
        let from = part.least();
        let postings = self.index.from(move |p| (&*p.index, &*p.key) < (index, from));
        postings
            .take_while(move |p| *p.index == *index && p.key.starts_with(part.prefix))
            .filter_map(|posting| self.get(&posting.key))
    }

    fn count_keyed(&self, part: Part<'_>) -> usize {
        let end = self.entries.rank(|item| is_before_end(&item.0.key, part.prefix));
        end - self.entries.rank(|item| *item.0.key < *part.least()).min(end)
    }

    fn count_posted(&self, part: Part<'_>, index: &str) -> usize {
        let end = self.index.rank(|p| match (*p.index).cmp(index) {
            Ordering::Equal => is_before_end(&p.key, part.prefix),
            order => order.is_lt(),
        });
        end - self.index.rank(|p| (&*p.index, &*p.key) < (index, part.least())).min(end)
    }

    fn repost(&mut self, key: &Arc<str>, before: &Arc<Facts>, after: &Arc<Facts>) {
        if before.keys == after.keys {
            return;
        }
        let posting = |index: &Arc<str>| Posting { index: index.clone(), key: key.clone() };
        for index in before.keys.iter().filter(|index| !after.has_key(index)) {
            self.index.remove(&posting(index));
        }
        for index in after.keys.iter().filter(|index| !before.has_key(index)) {
            self.index.insert(posting(index));
        }
    }
}

impl FromIterator<Arc<Entry>> for Collection {
    fn from_iter<I: IntoIterator<Item = Arc<Entry>>>(entries: I) -> Self {
        let mut collection = Self::default();
        entries.into_iter().for_each(|entry| collection.entries.insert(ByKey(entry)));
        collection.build_index();
        collection
    }
}

/// Whether a key comes before the end of the range of a prefix.
fn is_before_end(key: &str, prefix: &str) -> bool {
    key < prefix || key.starts_with(prefix)
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
