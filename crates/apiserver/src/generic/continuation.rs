//! Continue tokens (`k8s.io/apiserver/pkg/storage/continue.go`): where the next page of a list begins, and at which
//! revision.
//!
//! Invariant: a token read back names the same key and revision. Revision -1 means "whatever is newest".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use client::Status;
use serde::Serialize;

#[derive(Serialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

/// Go's `RawURLEncoding`: stray bits in the last symbol are ignored.
const GO: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Go's words.
fn base64_error(token: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        _ => token.len(),
    };
    format!("illegal base64 data at input byte {at}")
}

/// The token after `last`, a key below `prefix`.
pub(crate) fn after(last: &str, prefix: &str, revision: i64) -> String {
    let start = format!("{}\0", last.strip_prefix(prefix).unwrap_or(last));
    encode(start, revision)
}

fn encode(start: String, rv: i64) -> String {
    let token = Token { v: "meta.k8s.io/v1".into(), rv, start };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("three plain fields"))
}

/// The same place without the revision, for a list whose revision is compacted.
pub(crate) fn unpinned(start: &str, prefix: &str) -> String {
    encode(start.strip_prefix(prefix).unwrap_or(start).to_owned(), -1)
}

/// The start key (below `prefix`) and the revision of a token.
pub(crate) fn read(token: &str, prefix: &str) -> Result<(String, i64), Status> {
    let bad = |why: String| Status::bad_request(format!("invalid continue token: {why}"));
    let bytes = GO
        .decode(token)
        .map_err(|e| bad(format!("continue key is not valid: {}", base64_error(token, &e))))?;
    let token =
        kinds::decode::parse(&bytes).map_err(|e| bad(format!("continue key is not valid: {e}")))?.value;
    let token = Token {
        v: token["v"].as_str().unwrap_or_default().to_owned(),
        rv: token["rv"].as_i64().unwrap_or_default(),
        start: token["start"].as_str().unwrap_or_default().to_owned(),
    };
    if token.v != "meta.k8s.io/v1" {
        return Err(bad(format!(
            "continue key is not valid: server does not recognize this encoded version {}",
            token.v
        )));
    }
    if token.rv == 0 {
        return Err(bad(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
                .into(),
        ));
    }
    if token.start.is_empty() {
        return Err(
            bad("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)".into()),
        );
    }
    let clean =
        !token.start.starts_with('/') && token.start.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !clean {
        return Err(bad(format!("continue key is not valid: {}", token.start.trim_end_matches('\0'))));
    }
    Ok((format!("{prefix}{}", token.start), token.rv))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_rubbish() {
        let token = after("pods/ns/a", "pods/ns/", 12);
        assert_eq!(read(&token, "pods/ns/").unwrap(), ("pods/ns/a\0".to_owned(), 12));
        let again = unpinned("pods/ns/a\0", "pods/ns/");
        assert_eq!(read(&again, "pods/ns/").unwrap(), ("pods/ns/a\0".to_owned(), -1));
        for bad in ["%%%", "e30", &encode("../x".into(), 1), &encode("/x".into(), 1), &encode("x".into(), 0)]
        {
            let status = read(bad, "pods/").unwrap_err();
            assert_eq!(status.code, 400);
            assert!(status.message.starts_with("invalid continue token: "), "{}", status.message);
        }
        let told = |token: &str| read(token, "pods/").unwrap_err().message;
        assert!(told("garbage").ends_with("invalid character '\\u0081' looking for beginning of value"));
        assert!(told("e30").ends_with("server does not recognize this encoded version "));
        assert!(told("%%%").ends_with("illegal base64 data at input byte 0"));
    }
}
