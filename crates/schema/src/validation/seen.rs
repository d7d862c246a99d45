//! Texts that were met before.
//!
//! Invariant: allocates nothing for the first [`FEW`], and takes linear time for more.

use std::collections::HashSet;

/// How many are kept without an allocation.
const FEW: usize = 24;

/// A set of texts, for lists without duplicates.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    few: [&'a str; FEW],
    len: usize,
    many: HashSet<&'a str>,
}

impl<'a> Seen<'a> {
    /// Whether it is there.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.few[..self.len].contains(&text) || (!self.many.is_empty() && self.many.contains(text))
    }

    /// Puts it there; false if it was there already.
    pub fn insert(&mut self, text: &'a str) -> bool {
        if self.contains(text) {
            return false;
        }
        if self.len < FEW {
            self.few[self.len] = text;
            self.len += 1;
            return true;
        }
        self.many.insert(text)
    }
}

impl<'a> FromIterator<&'a str> for Seen<'a> {
    fn from_iter<T: IntoIterator<Item = &'a str>>(texts: T) -> Self {
        let mut seen = Self::default();
        for text in texts {
            seen.insert(text);
        }
        seen
    }
}
