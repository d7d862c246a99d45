//! A persistent ordered set: a B+ tree whose nodes are shared between its copies and count what is below them.
//!
//! Invariants: a copy is one pointer and never changes with its original; a change copies only the nodes between the
//! root and one leaf, and those only if a copy shares them; how many items come before a place is known without
//! walking over them, which lists need to say how many remain. Absent: items of one place (the order is total).
//!
//! Hand-written because the persistent maps at hand (`imbl`, `rpds`) do not count what is below a node and keep the
//! key beside the value, where here the key is in the item.

use std::sync::Arc;

/// No node has more items or children.
const MOST: usize = 32;
/// A node with fewer is joined with its neighbour if both fit into one.
const FEW: usize = MOST / 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree<T> {
    root: Arc<Node<T>>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Node<T> {
    Leaf(Vec<T>),
    Branch(Vec<Child<T>>),
}

#[derive(Debug, Clone)]
struct Child<T> {
    /// The least item below.
    first: T,
    /// How many items are below.
    count: usize,
    node: Arc<Node<T>>,
}

impl<T> Clone for Tree<T> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<T: Ord + Clone> Tree<T> {
    /// Whether the other is a copy of this one, or both are empty.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root) || self.len == 0 && other.len == 0
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an item, in the place of its equal if there is one.
    pub(crate) fn insert(&mut self, item: T) {
        let (new, split) = Arc::make_mut(&mut self.root).insert(item);
        self.len += usize::from(new);
        if let Some(right) = split {
            let left = Child::of(std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new()))));
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
    }

    /// Removes the item's equal; whether there was one.
    pub(crate) fn remove(&mut self, item: &T) -> bool {
        let gone = Arc::make_mut(&mut self.root).remove(item);
        self.len -= usize::from(gone);
        while let Node::Branch(children) = &*self.root {
            match &children[..] {
                [] => self.root = Arc::new(Node::Leaf(Vec::new())),
                [only] => self.root = only.node.clone(),
                _ => break,
            }
        }
        gone
    }

    /// How many items come before the first one that is not `before` a place.
    pub(crate) fn rank(&self, before: impl Fn(&T) -> bool) -> usize {
        let (mut node, mut rank) = (&*self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => return rank + items.partition_point(&before),
                Node::Branch(children) => {
                    let at = child_at(children, &before);
                    rank += children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The items from the first one that is not `before` a place on.
    pub(crate) fn from(&self, before: impl Fn(&T) -> bool) -> Iter<'_, T> {
        let (mut node, mut above) = (&*self.root, Vec::new());
        loop {
            match node {
                Node::Leaf(items) => {
                    return Iter { leaf: items[items.partition_point(&before)..].iter(), above };
                }
                Node::Branch(children) => {
                    let at = child_at(children, &before);
                    above.push(children[at + 1..].iter());
                    node = &children[at].node;
                }
            }
        }
    }

    /// All items.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        self.from(|_| false)
    }
}

/// The child in which the first item that is not `before` is, if it is not the first of the next.
fn child_at<T>(children: &[Child<T>], before: impl Fn(&T) -> bool) -> usize {
    children.partition_point(|child| before(&child.first)).saturating_sub(1)
}

impl<T: Ord + Clone> Child<T> {
    /// The node has at least one item.
    fn of(node: Arc<Node<T>>) -> Self {
        Self { first: node.first().clone(), count: node.count(), node }
    }

    /// After a change below.
    fn refresh(&mut self) {
        self.first = self.node.first().clone();
        self.count = self.node.count();
    }
}

impl<T: Ord + Clone> Node<T> {
    fn first(&self) -> &T {
        match self {
            Self::Leaf(items) => &items[0],
            Self::Branch(children) => &children[0].first,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Branch(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Branch(children) => children.len(),
        }
    }

    /// Whether the item is a new one, and what became too much for this node.
    fn insert(&mut self, item: T) -> (bool, Option<Child<T>>) {
        let new = match self {
            Self::Leaf(items) => match items.binary_search(&item) {
                Ok(at) => {
                    items[at] = item;
                    false
                }
                Err(at) => {
                    items.insert(at, item);
                    true
                }
            },
            Self::Branch(children) => {
                let at = child_at(children, |first| *first <= item);
                let (new, split) = Arc::make_mut(&mut children[at].node).insert(item);
                children[at].refresh();
                if let Some(right) = split {
                    children.insert(at + 1, right);
                }
                new
            }
        };
        (new, (self.width() > MOST).then(|| Child::of(Arc::new(self.split()))))
    }

    /// Takes the right half away. Items mostly come in order, so the left half stays fuller.
    fn split(&mut self) -> Self {
        match self {
            Self::Leaf(items) => Self::Leaf(right_of(items)),
            Self::Branch(children) => Self::Branch(right_of(children)),
        }
    }

    fn remove(&mut self, item: &T) -> bool {
        match self {
            Self::Leaf(items) => match items.binary_search(item) {
                Ok(at) => {
                    items.remove(at);
                    true
                }
                Err(_) => false,
            },
            Self::Branch(children) => {
                let at = child_at(children, |first| first <= item);
                let gone = Arc::make_mut(&mut children[at].node).remove(item);
                if gone {
                    settle(children, at);
                }
                gone
            }
        }
    }

    fn append(&mut self, right: Self) {
        match (self, right) {
            (Self::Leaf(items), Self::Leaf(more)) => items.extend(more),
            (Self::Branch(children), Self::Branch(more)) => children.extend(more),
            _ => unreachable!("all leaves are at one depth"),
        }
    }
}

/// Splits a list; the left part keeps no room.
fn right_of<T>(list: &mut Vec<T>) -> Vec<T> {
    let right = list.split_off(MOST * 3 / 4);
    list.shrink_to_fit();
    right
}

/// After a removal below the child at `at`: drops it if it is empty, joins it with a neighbour if they fit into one.
fn settle<T: Ord + Clone>(children: &mut Vec<Child<T>>, at: usize) {
    let width = children[at].node.width();
    if width == 0 {
        children.remove(at);
        return;
    }
    children[at].refresh();
    if width >= FEW || children.len() < 2 {
        return;
    }
    let left = if at + 1 < children.len() { at } else { at - 1 };
    if children[left].node.width() + children[left + 1].node.width() <= MOST {
        let right = children.remove(left + 1);
        Arc::make_mut(&mut children[left].node).append(Arc::unwrap_or_clone(right.node));
        children[left].refresh();
    }
}

/// Items in their order.
#[derive(Debug, Clone)]
pub(crate) struct Iter<'a, T> {
    leaf: std::slice::Iter<'a, T>,
    /// What follows on each level above, the root's last of all to be taken.
    above: Vec<std::slice::Iter<'a, Child<T>>>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.leaf.next() {
                return Some(item);
            }
            let mut node = loop {
                match self.above.last_mut()?.next() {
                    Some(child) => break &*child.node,
                    None => drop(self.above.pop()),
                }
            };
            while let Node::Branch(children) = node {
                let mut children = children.iter();
                node = &children.next()?.node;
                self.above.push(children);
            }
            if let Node::Leaf(items) = node {
                self.leaf = items.iter();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn is_a_set_with_ranks(changes in prop::collection::vec((any::<bool>(), 0..400u16), 0..1500), clear in any::<bool>()) {
            let (mut tree, mut set) = (Tree::default(), BTreeSet::new());
            let mut copies = Vec::new();
            for (index, (insert, item)) in changes.into_iter().enumerate() {
                if insert || item % 3 == 0 {
                    tree.insert(item);
                    set.insert(item);
                } else {
                    assert_eq!(tree.remove(&item), set.remove(&item));
                }
                if index % 100 == 0 {
                    copies.push((tree.clone(), set.clone()));
                }
            }
            if clear {
                copies.push((tree.clone(), set.clone()));
                for item in std::mem::take(&mut set) {
                    assert!(tree.remove(&item));
                }
            }
            copies.push((tree, set));
            for (tree, set) in copies {
                assert_eq!(tree.len(), set.len());
                assert!(tree.iter().eq(&set));
                for place in [0, 1, 77, 200, 399, 400] {
                    assert_eq!(tree.rank(|item| *item < place), set.range(..place).count());
                    assert!(tree.from(|item| *item < place).eq(set.range(place..)));
                }
            }
        }
    }

    #[test]
    fn a_copy_shares_all_but_one_path() {
        let mut tree = Tree::default();
        (0..10_000u32).for_each(|item| tree.insert(item));
        let copy = tree.clone();
        tree.insert(5_000);
        let leaves = |tree: &Tree<u32>| {
            let mut nodes = vec![tree.root.clone()];
            let mut leaves = Vec::new();
            while let Some(node) = nodes.pop() {
                match &*node {
                    Node::Leaf(_) => leaves.push(Arc::as_ptr(&node)),
                    Node::Branch(children) => nodes.extend(children.iter().map(|child| child.node.clone())),
                }
            }
            leaves
        };
        let (before, after) = (leaves(&copy), leaves(&tree));
        assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 1);
        assert!(before.len() < 10_000 / (MOST / 2), "leaves are more than half full");
    }
}
