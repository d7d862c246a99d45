//! Discovery and OpenAPI as they are sent: made once for a catalogue, when first asked for, and kept.
//!
//! Invariant: the documents of one [`Documents`] describe one catalogue; those of the next take over what is still true.
//! Absent: what the documents say (`discovery`, `kinds::openapi`).

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use kinds::{Catalogue, openapi};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::{Reply, respond};
use crate::catalogue::discovery::{self, Aggregated};
use crate::context::request::Params;

/// What clients ask for, in an older and a newer spelling, and what they get.
const V2_PROTO: [&str; 2] = ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", V2_PROTO_ANSWER];
const V2_PROTO_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A document that is large, seldom asked for, and always the same: kept compressed once made.
struct Document {
    gzip: Bytes,
    etag: String,
    media_type: &'static str,
}

impl Document {
    fn json(body: &Value) -> Self {
        Self::new(body.to_string().as_bytes(), "application/json")
    }

    fn new(bytes: &[u8], media_type: &'static str) -> Self {
        use std::io::Write as _;
        let etag = format!("\"{}\"", hex::encode_upper(Sha512::digest(bytes)));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("a Vec takes everything");
        Self { gzip: Bytes::from(encoder.finish().expect("a Vec takes everything")), etag, media_type }
    }

    fn reply(&self, headers: &HeaderMap) -> Reply {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
        let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
        let mut reply = if known == Some(self.etag.as_str()) {
            let mut reply = http::Response::new(super::full(Bytes::new()));
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply
        } else if accepts.is_some_and(|a| a.contains("gzip")) {
            let mut reply = http::Response::new(super::full(self.gzip.clone()));
            reply.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            reply
        } else {
            let mut text = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&self.gzip[..]);
            std::io::Read::read_to_end(&mut decoder, &mut text).expect("compressed by this process");
            http::Response::new(super::full(text))
        };
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(header::ETAG, etag);
        }
        reply
    }
}

/// The documents of one catalogue.
pub(crate) struct Documents {
    pub(crate) catalogue: Arc<Catalogue>,
    core: OnceLock<Aggregated>,
    groups: OnceLock<Aggregated>,
    v2: OnceLock<Document>,
    v2_as_proto: OnceLock<Document>,
    /// By group and version.
    v3: Mutex<Vec<([String; 2], Arc<Document>)>>,
}

impl Documents {
    /// None made yet.
    pub(crate) fn new(catalogue: Arc<Catalogue>) -> Self {
        let (core, groups) = (OnceLock::new(), OnceLock::new());
        Self {
            catalogue,
            core,
            groups,
            v2: OnceLock::new(),
            v2_as_proto: OnceLock::new(),
            v3: Mutex::default(),
        }
    }

    /// Those of the next catalogue: the group-versions whose kinds are the same ones keep their documents.
    pub(crate) fn next(&self, catalogue: Arc<Catalogue>) -> Self {
        let same = |group: &str, version: &str| {
            let mut before = self.catalogue.of(group, version);
            let same = catalogue.of(group, version).all(|k| before.next().is_some_and(|b| Arc::ptr_eq(k, b)));
            same && before.next().is_none()
        };
        let mut kept = self.v3.lock().unwrap_or_else(PoisonError::into_inner).clone();
        kept.retain(|([group, version], _)| same(group, version));
        Self { v3: Mutex::new(kept), ..Self::new(catalogue) }
    }

    /// `/api` in aggregated form, or `/apis`.
    pub(crate) fn aggregated(&self, core: bool) -> &Aggregated {
        let place = if core { &self.core } else { &self.groups };
        place.get_or_init(|| discovery::aggregated(&self.catalogue, core))
    }

    fn v2(&self) -> &Document {
        self.v2.get_or_init(|| Document::json(&openapi::v2(&self.catalogue)))
    }

    fn v2_as_proto(&self) -> &Document {
        let made = || Document::new(&openapi::v2_protobuf(&openapi::v2(&self.catalogue)), V2_PROTO_ANSWER);
        self.v2_as_proto.get_or_init(made)
    }

    fn v3(&self, group: &str, version: &str) -> Arc<Document> {
        let mut made = self.v3.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, document)) = made.iter().find(|([g, v], _)| g == group && v == version) {
            return document.clone();
        }
        let document = Arc::new(Document::json(&openapi::v3(group, version, &self.catalogue)));
        made.push(([group.to_owned(), version.to_owned()], document.clone()));
        document
    }

    fn group_versions(&self) -> impl Iterator<Item = (String, &str, &str)> {
        let path = |group: &str, v: &str| {
            if group.is_empty() { format!("api/{v}") } else { format!("apis/{group}/{v}") }
        };
        let groups = self.catalogue.groups().into_iter();
        groups.flat_map(move |(group, all)| all.into_iter().map(move |v| (path(group, v), group, v)))
    }

    /// `/openapi/v2`.
    pub(crate) fn openapi_v2(&self, headers: &HeaderMap) -> Reply {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        for range in media {
            if V2_PROTO.contains(&range) {
                return self.v2_as_proto().reply(headers);
            }
            if ["application/json", "application/*", "*/*", ""].contains(&range) {
                return self.v2().reply(headers);
            }
        }
        respond::text(StatusCode::NOT_ACCEPTABLE, "406 not acceptable: only JSON and protobuf are offered\n")
    }

    /// `/openapi/v3`.
    pub(crate) fn openapi_v3_index(&self) -> Value {
        let paths: serde_json::Map<String, Value> = self
            .group_versions()
            .map(|(path, group, version)| {
                let document = self.v3(group, version);
                let url = format!("/openapi/v3/{path}?hash={}", hash(&document));
                (path, json!({"serverRelativeURL": url}))
            })
            .collect();
        json!({"paths": paths})
    }

    /// `/openapi/v3/PATH`.
    pub(crate) fn openapi_v3(&self, rest: &[&str], params: &Params, headers: &HeaderMap) -> Option<Reply> {
        let path = rest.join("/");
        let (_, group, version) = self.group_versions().find(|(p, ..)| *p == path)?;
        let document = self.v3(group, version);
        if let Some(asked) = params.get("hash")
            && asked != hash(&document)
        {
            let mut reply = respond::text(StatusCode::MOVED_PERMANENTLY, "");
            let url = format!("/openapi/v3/{path}?hash={}", hash(&document));
            reply.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&url).ok()?);
            return Some(reply);
        }
        let mut reply = document.reply(headers);
        if params.get("hash").is_some() {
            // Named by its hash, it never changes.
            reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        }
        Some(reply)
    }
}

fn hash(document: &Document) -> &str {
    document.etag.trim_matches('"')
}
