//! Files of variables that a container left in an emptyDir, for `fileKeyRef` (`pkg/kubelet/util/env`).
//!
//! The format is a small part of the shell's: `NAME='value'`, everything between the quotes as it stands, over several
//! lines too; empty lines, comments and a comment after the closing quote.

/// The value of `key`; `None` if the file does not set it. What stands behind it is not looked at.
///
/// # Errors
/// At the first line that is not of the format.
pub fn value(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start_matches(BLANK);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| format!("invalid environment variable format at line {}: {why}", index + 1);
        let (name, rest) = line.split_once('=').ok_or_else(|| wrong("missing '='"))?;
        if name.trim_end_matches(BLANK).is_empty() {
            return Err(wrong("empty variable name"));
        }
        if name.ends_with(BLANK) {
            return Err(wrong("whitespace before '=' is not allowed"));
        }
        if rest.starts_with(BLANK) {
            // As in the shell: an empty value, then a word of its own.
            if name == key {
                return Ok(Some(String::new()));
            }
            continue;
        }
        let mut rest =
            rest.strip_prefix('\'').ok_or_else(|| wrong("value must be enclosed in single quotes"))?;
        let mut value = String::new();
        let behind = loop {
            if let Some((last, behind)) = rest.split_once('\'') {
                value.push_str(last);
                break behind;
            }
            value.push_str(rest);
            value.push('\n');
            rest = match lines.next() {
                Some((_, line)) => line,
                None => {
                    return Err(format!(
                        "invalid environment variable format starting at line {}: unclosed single quote",
                        index + 1
                    ));
                }
            };
        };
        let behind = behind.trim_start_matches(BLANK);
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(wrong("unexpected content after closing quote"));
        }
        if name == key {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn the_format() {
        for (text, want) in [
            ("K='v'", Ok(Some("v"))),
            ("\n# no\n  A='x'\n\tK='a b \"$c\\' # why\n", Ok(Some("a b \"$c\\"))),
            ("K='one\n# two\n  three'\nX='y'", Ok(Some("one\n# two\n  three"))),
            ("K= 'v'", Ok(Some(""))),
            ("K=''", Ok(Some(""))),
            ("K='v'\nbroken", Ok(Some("v"))),
            ("A='v'", Ok(None)),
            ("", Ok(None)),
            ("broken\nK='v'", Err("at line 1: missing '='")),
            ("K=v", Err("at line 1: value must be enclosed in single quotes")),
            ("K ='v'", Err("at line 1: whitespace before '='")),
            ("='v'", Err("at line 1: empty variable name")),
            ("K='v' w", Err("at line 1: unexpected content after closing quote")),
            ("\nK='v\nw", Err("starting at line 2: unclosed single quote")),
        ] {
            match (value(text, "K"), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.as_deref(), want, "{text:?}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{text:?}: {got}"),
                (got, _) => panic!("{text:?}: {got:?}"),
            }
        }
    }
}
