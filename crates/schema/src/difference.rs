//! What differs between two objects, as upstream shows it: both written over several lines as Go's encoder would, and of
//! these lines the changed ones with three around them.
//!
//! Invariant: pure; two texts that are the same differ in nothing. Absent: which fields are shown and how they are called
//! ([`crate::field::go_form`]).

use std::fmt::Write as _;

/// Lines that are shown around a change.
const AROUND: usize = 3;

/// What differs between two JSON texts on one line each.
#[must_use]
pub fn difference(old: &str, new: &str) -> String {
    let (old, new) = (indented(old), indented(new));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let steps = steps(&old, &new);
    let mut out = String::new();
    for hunk in hunks(&steps) {
        head(&mut out, &steps, hunk.clone());
        for step in &steps[hunk] {
            let (sign, line) = match step {
                Step::Same(line) => (' ', line),
                Step::Gone(line) => ('-', line),
                Step::New(line) => ('+', line),
            };
            let _ = writeln!(out, "{sign}{line}");
        }
    }
    out
}

/// Over several lines, one blank deep for each level.
fn indented(json: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    let mut rest = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    while let Some(c) = rest.next() {
        if quoted {
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        match c {
            '{' | '[' if rest.peek().is_some_and(|next| matches!(next, '}' | ']')) => {
                out.push(c);
                out.extend(rest.next());
            }
            '{' | '[' => {
                depth += 1;
                out.push(c);
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The way from the old lines to the new ones, by their longest common subsequence.
fn steps<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Step<'a>> {
    let mut longest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] = if old[i] == new[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push(Step::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || longest[i + 1][j] >= longest[i][j + 1]) {
            out.push(Step::Gone(old[i]));
            i += 1;
        } else {
            out.push(Step::New(new[j]));
            j += 1;
        }
    }
    out
}

/// Changes that are near each other, with what is around them.
fn hunks(steps: &[Step<'_>]) -> Vec<std::ops::Range<usize>> {
    let mut out: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in steps.iter().enumerate().filter(|(_, step)| !matches!(step, Step::Same(_))) {
        let (from, to) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(steps.len()));
        match out.last_mut() {
            Some(last) if from <= last.end => last.end = to,
            _ => out.push(from..to),
        }
    }
    out
}

fn head(out: &mut String, steps: &[Step<'_>], hunk: std::ops::Range<usize>) {
    let olds = |steps: &[Step<'_>]| steps.iter().filter(|s| !matches!(s, Step::New(_))).count();
    let news = |steps: &[Step<'_>]| steps.iter().filter(|s| !matches!(s, Step::Gone(_))).count();
    let (before, within) = (&steps[..hunk.start], &steps[hunk]);
    let _ =
        writeln!(out, "@@ -{},{} +{},{} @@", olds(before) + 1, olds(within), news(before) + 1, news(within));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ() {
        let old = r#"{"A":["x"],"B":null,"C":{"D":{},"E":"a,{\"b"},"F":1}"#;
        assert_eq!(difference(old, old), "");
        assert_eq!(
            difference(old, &old.replace("[\"x\"]", "[\"y\"]")),
            "@@ -1,6 +1,6 @@\n {\n  \"A\": [\n-  \"x\"\n+  \"y\"\n  ],\n  \"B\": null,\n  \"C\": {\n"
        );
        assert_eq!(
            difference(old, &old.replace("\"F\":1", "\"F\":2")),
            "@@ -7,5 +7,5 @@\n   \"D\": {},\n   \"E\": \"a,{\\\"b\"\n  },\n- \"F\": 1\n+ \"F\": 2\n }\n"
        );
    }
}
