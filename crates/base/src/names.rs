//! Names and ids: RFC 1123 and RFC 1035 rules with upstream's messages (`k8s.io/apimachinery/pkg/util/validation`),
//! `generateName` suffixes, UIDs, FNV-1a.
//!
//! Invariant: random bytes are arguments. Each validation returns every complaint, none if the name is good.

use std::fmt::Write as _;

/// Letters of generated suffixes: no vowels, no look-alikes (`k8s.io/apimachinery/pkg/util/rand`).
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Longest base of a generated name: 63 less the suffix.
const MAX_BASE: usize = 58;

/// Longest RFC 1123 or RFC 1035 label.
pub const MAX_LABEL: usize = 63;
/// Longest RFC 1123 subdomain.
pub const MAX_SUBDOMAIN: usize = 253;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FMT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

/// The name made from `metadata.generateName` and five random bytes.
#[must_use]
pub fn generate(base: &str, random: [u8; 5]) -> String {
    let mut end = base.len().min(MAX_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    name.push_str(&suffix(&random));
    name
}

/// As many letters of the generated-name alphabet as there are random bytes.
#[must_use]
pub fn suffix(random: &[u8]) -> String {
    random.iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}

/// A version 4 UUID from random bytes.
#[must_use]
pub fn uid(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in random.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

/// The name of an Event about an object at a time in nanoseconds: the object's with the time, or a UUID where that is
/// no name (client-go's `GenerateEventName`).
#[must_use]
pub fn event(object: &str, nanos: i128) -> String {
    let name = format!("{object}.{nanos:x}");
    if dns1123_subdomain(&name).is_empty() { name } else { uid(fnv1a_128(name.as_bytes()).to_be_bytes()) }
}

/// FNV-1a, 32 bits.
#[must_use]
pub fn fnv1a_32(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1, 32 bits: what `fnv.New32()` computes, which some upstream names use.
#[must_use]
pub fn fnv1_32(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte))
}

/// FNV-1a, 64 bits.
#[must_use]
pub fn fnv1a_64(data: &[u8]) -> u64 {
    data.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// FNV-1a, 128 bits.
#[must_use]
pub fn fnv1a_128(data: &[u8]) -> u128 {
    let prime: u128 = (1 << 88) + 0x13b;
    data.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(prime)
    })
}

/// `validation.EmptyError`.
pub const EMPTY: &str = "must be non-empty";

/// `validation.MaxLenError` in characters.
#[must_use]
pub fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// `validation.RegexError`: the rule, examples and the expression.
#[must_use]
pub fn regex_error(rule: &str, expression: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{expression}')");
    }
    format!("{rule} (e.g. {}regex used for validation is '{expression}')", examples.join(" or "))
}

/// Complaints about an RFC 1123 label.
#[must_use]
pub fn dns1123_label(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name.len() > MAX_LABEL {
        found.push(too_long(MAX_LABEL));
    }
    if !is_label(name) {
        let rule = if is_subdomain(name) {
            // Upstream's special case for a subdomain where a label is wanted.
            "must not contain dots".to_owned()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character",
                LABEL_FMT,
                &["my-name", "123-abc"],
            )
        };
        found.push(rule);
    }
    found
}

/// Complaints about an RFC 1123 subdomain.
#[must_use]
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name.len() > MAX_SUBDOMAIN {
        found.push(too_long(MAX_SUBDOMAIN));
    }
    if !is_subdomain(name) {
        found.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character",
            SUBDOMAIN_FMT,
            &["example.com"],
        ));
    }
    found
}

/// Complaints about an RFC 1035 label, which starts with a letter.
#[must_use]
pub fn dns1035_label(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name.len() > MAX_LABEL {
        found.push(too_long(MAX_LABEL));
    }
    if !is_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        found.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    found
}

/// Complaints about a name that must be one path segment (`path.IsValidPathSegmentName`).
#[must_use]
pub fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|c| name.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names() {
        assert_eq!(generate("job-", [0, 1, 2, 26, 27]), "job-bcd9b");
        let long = generate(&"x".repeat(80), [0; 5]);
        assert_eq!(long.len(), 63);
        assert!(long.ends_with("xbbbbb"));
    }

    #[test]
    fn uids_are_version_four() {
        assert_eq!(uid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn events_have_names() {
        assert_eq!(event("web", 255), "web.ff");
        for object in ["m".repeat(240), "system:node".to_owned(), "a_b".to_owned()] {
            let name = event(&object, 1 << 60);
            assert_eq!((name.len(), dns1123_subdomain(&name)), (36, vec![]), "{object}");
            assert_ne!(name, event(&object, (1 << 60) + 1));
        }
    }

    #[test]
    fn hashes() {
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9c_f968);
        assert_eq!(fnv1_32(b"foobar"), 0x31f0_b262);
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a_128(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a_128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn names_and_their_complaints() {
        let long_label = "a".repeat(64);
        for (check, name, want) in [
            (dns1123_label as fn(&str) -> Vec<String>, "a", ""),
            (dns1123_label, "1-a", ""),
            (dns1123_label, "a.b", "must not contain dots"),
            (dns1123_label, &long_label, "must be no more than 63 characters"),
            (
                dns1123_label,
                "A",
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ),
            (dns1123_subdomain, "a.b-c.1", ""),
            (
                dns1123_subdomain,
                "a..b",
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                 must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ),
            (dns1035_label, "abc-123", ""),
            (
                dns1035_label,
                "1a",
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                 character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                 validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            ),
            (path_segment, "system:node", ""),
            (path_segment, "..", "may not be '..'"),
            (path_segment, "a/b", "may not contain '/'"),
        ] {
            assert_eq!(check(name).join("; "), want, "{name}");
        }
    }
}
