//! What a profile says: the OCI runtime specification's `linux.seccomp`, with names turned into numbers.
//!
//! Invariant: unknown calls are dropped (this machine has none by that name), unknown actions and operators are
//! errors. Absent: Docker's `includes` and `excludes`, which are not part of the specification.

use serde::Deserialize;

use super::number::number;

/// What happens on a call: the filter's return value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action(pub(super) u32);

impl Action {
    pub(super) const ALLOW: Self = Self(0x7fff_0000);

    pub(super) const fn errno(number: u32) -> Self {
        Self(0x0005_0000 | (number & 0xffff))
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// The mask.
    MaskedEqual(u64),
}

/// A condition on one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) compare: Compare,
    pub(super) value: u64,
}

/// One call, an action, and the conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) call: u32,
    pub(super) action: Action,
    pub(super) conditions: Vec<Condition>,
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
    /// Flags of seccomp(2), if it says any.
    pub(super) flags: Option<u32>,
}

impl Profile {
    /// Adds rules for the calls that exist here.
    pub(super) fn push(&mut self, names: &[impl AsRef<str>], action: Action, conditions: &[Condition]) {
        let calls = names.iter().filter_map(|name| number(name.as_ref()));
        self.rules.extend(calls.map(|call| Rule { call, action, conditions: conditions.to_vec() }));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<TextRule>,
    flags: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TextRule {
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<TextCondition>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TextCondition {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Reads a profile.
pub(super) fn parse(bytes: &[u8]) -> Result<Profile, String> {
    let text: Text = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut profile = Profile {
        default: action(&text.default_action, text.default_errno_ret)?,
        rules: Vec::new(),
        flags: text.flags.map(|flags| flags.iter().map(|name| flag(name)).sum()).transpose()?,
    };
    for rule in text.syscalls {
        let conditions: Result<Vec<_>, _> = rule.args.unwrap_or_default().iter().map(condition).collect();
        profile.push(&rule.names, action(&rule.action, rule.errno_ret)?, &conditions?);
    }
    Ok(profile)
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, String> {
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action(0),
        "SCMP_ACT_KILL_PROCESS" => Action(0x8000_0000),
        "SCMP_ACT_TRAP" => Action(0x0003_0000),
        "SCMP_ACT_ERRNO" => Action::errno(data),
        "SCMP_ACT_TRACE" => Action(0x7ff0_0000 | data),
        "SCMP_ACT_LOG" => Action(0x7ffc_0000),
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        other => return Err(format!("action {other:?} is not supported")),
    })
}

fn flag(name: &str) -> Result<u32, String> {
    match name {
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(1),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(2),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(4),
        other => Err(format!("flag {other:?} is not supported")),
    }
}

fn condition(text: &TextCondition) -> Result<Condition, String> {
    if text.index > 5 {
        return Err(format!("argument index {} is above 5", text.index));
    }
    let (compare, value) = match text.op.as_str() {
        "SCMP_CMP_NE" => (Compare::NotEqual, text.value),
        "SCMP_CMP_LT" => (Compare::Less, text.value),
        "SCMP_CMP_LE" => (Compare::LessOrEqual, text.value),
        "SCMP_CMP_EQ" => (Compare::Equal, text.value),
        "SCMP_CMP_GE" => (Compare::GreaterOrEqual, text.value),
        "SCMP_CMP_GT" => (Compare::Greater, text.value),
        "SCMP_CMP_MASKED_EQ" => (Compare::MaskedEqual(text.value), text.value_two),
        other => return Err(format!("operator {other:?} is not supported")),
    };
    Ok(Condition { index: text.index, compare, value })
}
