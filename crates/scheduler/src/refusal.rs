//! Why nodes were refused, and the text of the FailedScheduling event made from it.
//!
//! Invariants: a reason is a value that costs nothing to make; text is made once, when the whole attempt has failed. The
//! form is upstream's v1.36 (`framework.FitError`): `0/N nodes are available: COUNT REASON, …. WHAT POST-FILTERS SAY`, the
//! parts sorted as texts.

use std::fmt;
use std::sync::Arc;

use crate::plugin::PluginSet;

/// Why one node was refused; the display is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    text: &'static str,
    of: Option<Arc<str>>,
}

impl Reason {
    /// A fixed text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, of: None }
    }

    /// A text with a name behind it: `Insufficient ` and `example.com/gpu`.
    #[must_use]
    pub fn of(text: &'static str, name: &str) -> Self {
        Self { text, of: Some(name.into()) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        f.write_str(self.of.as_deref().unwrap_or_default())
    }
}

/// One plugin's refusal of one node, or of the Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// And why else.
    pub more: Vec<Reason>,
    /// Whether removing Pods could help.
    pub resolvable: bool,
}

impl Refusal {
    /// Removing Pods could help.
    #[must_use]
    pub const fn resolvable(text: &'static str) -> Self {
        Self { reason: Reason::new(text), more: Vec::new(), resolvable: true }
    }

    /// Removing Pods cannot help.
    #[must_use]
    pub const fn final_(text: &'static str) -> Self {
        Self { reason: Reason::new(text), more: Vec::new(), resolvable: false }
    }

    /// All reasons.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        std::iter::once(&self.reason).chain(&self.more)
    }
}

/// How many nodes each reason was given for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons {
    groups: Vec<(Reason, usize)>,
}

impl Reasons {
    /// Counts a node.
    pub fn add(&mut self, reason: &Reason) {
        self.add_many(reason, 1);
    }

    /// Counts so many nodes.
    pub fn add_many(&mut self, reason: &Reason, nodes: usize) {
        // There are few reasons, and neighbours often share theirs.
        match self.groups.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += nodes,
            None if nodes > 0 => self.groups.push((reason.clone(), nodes)),
            None => {}
        }
    }

    /// `0/N nodes are available: COUNT REASON, ….`
    #[must_use]
    pub fn sentence(&self, total: usize) -> String {
        let mut parts: Vec<String> =
            self.groups.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
        parts.sort();
        match parts.is_empty() {
            true => format!("{}:", head(total)),
            false => format!("{}: {}.", head(total), parts.join(", ")),
        }
    }
}

fn head(total: usize) -> String {
    format!("0/{total} nodes are available")
}

/// What an attempt that found no node has learned.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub total: usize,
    /// Why each was refused.
    pub reasons: Reasons,
    /// Nodes from which Pods could be removed with profit, by position.
    pub resolvable: Vec<usize>,
    /// Who refused.
    pub plugins: PluginSet,
    /// The Pod itself was refused, whatever the node.
    pub whole: Option<Refusal>,
}

impl Diagnosis {
    /// A plugin refused a node.
    pub fn refuse(&mut self, plugin: usize, node: usize, refusal: &Refusal) {
        self.plugins.insert(plugin);
        self.say(node, refusal);
    }

    /// Somebody refused a node.
    pub fn say(&mut self, node: usize, refusal: &Refusal) {
        refusal.reasons().for_each(|reason| self.reasons.add(reason));
        if refusal.resolvable {
            self.resolvable.push(node);
        }
    }

    /// The message of the FailedScheduling event and of the PodScheduled condition; `post` is what the post-filters say.
    #[must_use]
    pub fn message(&self, post: &str) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut text = match &self.whole {
            None => self.reasons.sentence(self.total),
            Some(refusal) => {
                let reasons: Vec<String> = refusal.reasons().map(Reason::to_string).collect();
                format!("{}: {}.", head(self.total), reasons.join(", "))
            }
        };
        if !post.is_empty() {
            text.push(' ');
            text.push_str(post);
        }
        text
    }
}
