//! Levels and versions, and what a namespace's labels ask for.
//!
//! Invariant: a label that cannot be read never means less than it might: enforcing falls back to `restricted`; auditing
//! and warning, which refuse nothing, to nothing.

use std::fmt;

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::value::text;

/// How much a Pod may do, the strictest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Privileged,
    /// What ordinary Pods need, no known escalation.
    Baseline,
    /// Hardened.
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

/// Which version's meaning of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The newest.
    Latest,
    /// `v1.N`.
    Minor(u32),
}

impl Version {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let digits = text.strip_prefix("v1.").unwrap_or_default();
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let minor = digits.parse().ok().filter(|_| plain);
        minor.map(Self::Minor).ok_or("must be \"latest\" or \"v1.x\"")
    }
}

/// What is asked of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelVersion {
    /// How much it may do.
    pub level: Level,
    /// As of when.
    pub version: Version,
}

impl LevelVersion {
    const OPEN: Self = Self { level: Level::Privileged, version: Version::Latest };
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            Version::Latest => f.write_str(":latest"),
            Version::Minor(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

/// What a namespace asks of its Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What violates this is refused.
    pub enforce: LevelVersion,
    /// What violates this is noted in the audit log.
    pub audit: LevelVersion,
    /// What violates this is answered with a warning.
    pub warn: LevelVersion,
}

impl Policy {
    /// Reads a namespace's labels; also what is wrong with them. Without labels everything is allowed.
    #[must_use]
    pub fn of(labels: &Value) -> (Self, ErrorList) {
        let mut errors = ErrorList::default();
        let enforce = mode(labels, "enforce", Level::Restricted, &mut errors);
        let audit = mode(labels, "audit", Level::Privileged, &mut errors);
        let warn = mode(labels, "warn", Level::Privileged, &mut errors);
        (Self { enforce, audit, warn }, errors)
    }
}

fn mode(labels: &Value, mode: &str, unreadable: Level, errors: &mut ErrorList) -> LevelVersion {
    let path = Path::new("metadata.labels");
    let [level, version] =
        ["", "-version"].map(|suffix| format!("pod-security.kubernetes.io/{mode}{suffix}"));
    let mut out = LevelVersion::OPEN;
    if let Some(value) = labels.get(&level).map(text) {
        out.level = Level::parse(value).unwrap_or_else(|why| {
            errors.invalid(&path.key(&level), value, why);
            unreadable
        });
    }
    if let Some(value) = labels.get(&version).map(text) {
        out.version = Version::parse(value).unwrap_or_else(|why| {
            errors.invalid(&path.key(&version), value, why);
            Version::Latest
        });
    }
    out
}
