//! Content negotiation: what a client can read, what it has sent.
//!
//! Invariant: an `Accept` clause that cannot be served is skipped, never half-served; the first served one in q order
//! wins. Absent: charset negotiation (everything is UTF-8).

/// A serialization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Format {
    /// The media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// Into what an object is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transform {
    /// Nothing.
    None,
    /// `Table`.
    Table,
    /// `PartialObjectMetadata`.
    Partial,
    /// `PartialObjectMetadataList`.
    PartialList,
    /// `APIGroupDiscoveryList`.
    Discovery,
}

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Serialization.
    pub(crate) format: Format,
    /// Transform.
    pub(crate) transform: Transform,
}

/// The media types of objects.
pub(crate) const SUPPORTED: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The media types of collections, which are watched too.
pub(crate) const COLLECTION: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// The media types of watches.
pub(crate) const STREAMS: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// Whether a path that produces these media types answers such an `Accept` at all. As upstream's router: a media type
/// is named whole, or everything is accepted; parameters do not count.
pub(crate) fn routable(accept: &str, produced: &[&str]) -> bool {
    let mut media = accept.split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
    accept.is_empty() || media.any(|media| media == "*/*" || produced.contains(&media))
}

struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    q: f32,
}

/// Agrees on a form. `offered` are the transforms this path can do. `None`: nothing acceptable, 406.
pub(crate) fn accept(header: &str, offered: &[Transform]) -> Option<Accepted> {
    accept_of(header, offered, true)
}

/// The same where perhaps there is no protobuf to offer.
pub(crate) fn accept_of(header: &str, offered: &[Transform], has_protobuf: bool) -> Option<Accepted> {
    if header.trim().is_empty() {
        return Some(Accepted { format: Format::Json, transform: Transform::None });
    }
    let mut clauses: Vec<Clause<'_>> = header.split(',').filter_map(clause).collect();
    clauses.sort_by(|a, b| b.q.total_cmp(&a.q));
    let possible =
        |a: &Accepted| has_protobuf || a.format != Format::Protobuf || a.transform != Transform::None;
    clauses.iter().filter_map(|c| served(c, offered)).find(possible)
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|m| !m.is_empty())?;
    let mut q = 1.0;
    let mut params = Vec::new();
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if key == "q" {
            q = value.parse().unwrap_or(1.0);
        } else {
            params.push((key, value.trim_matches('"')));
        }
    }
    Some(Clause { media, params, q })
}

fn served(clause: &Clause<'_>, offered: &[Transform]) -> Option<Accepted> {
    let format = match clause.media {
        "*/*" | "application/*" | "application/json" => Format::Json,
        "application/yaml" => Format::Yaml,
        "application/vnd.kubernetes.protobuf" => Format::Protobuf,
        _ => return None,
    };
    let param = |key: &str| clause.params.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let transform = match (param("as"), param("g"), param("v")) {
        (None, ..) => Transform::None,
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Transform::Table,
        (Some("PartialObjectMetadata"), Some("meta.k8s.io"), Some("v1")) => Transform::Partial,
        (Some("PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => Transform::PartialList,
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => Transform::Discovery,
        _ => return None,
    };
    let possible = transform == Transform::None || offered.contains(&transform);
    let has_form = !(format == Format::Protobuf && transform == Transform::Table);
    (possible && has_form).then_some(Accepted { format, transform })
}

/// The format of a request body, `None` for 415. A missing header is JSON.
pub(crate) fn content_type(header: &str) -> Option<Format> {
    match header.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => Some(Format::Json),
        "application/yaml" => Some(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Format::Protobuf),
        _ => None,
    }
}

/// Whether to indent: asked for, or a person's tool.
pub(crate) fn pretty(param: Option<bool>, user_agent: &str) -> bool {
    param.unwrap_or_else(|| ["curl", "Wget", "Mozilla/5.0"].iter().any(|p| user_agent.starts_with(p)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let table = [
            ("", true),
            ("*/*", true),
            ("text/html, */*;q=0.1", true),
            ("application/json;as=Table", true),
            ("application/*", false),
            ("text/html", false),
            ("application/cbor,application/yaml", true),
        ];
        for (accept, want) in table {
            assert_eq!(routable(accept, SUPPORTED), want, "{accept}");
        }
    }

    #[test]
    fn clauses() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let cases = [
            ("", &[][..], Some((Format::Json, Transform::None))),
            ("*/*", &[], Some((Format::Json, Transform::None))),
            (table, &[Transform::Table], Some((Format::Json, Transform::Table))),
            (table, &[], Some((Format::Json, Transform::None))),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", &[Transform::Table], None),
            ("text/html", &[], None),
            ("text/html,*/*;q=0.1", &[], Some((Format::Json, Transform::None))),
            ("application/json;q=0.5,application/yaml", &[], Some((Format::Yaml, Transform::None))),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
                &[Transform::Table],
                Some((Format::Json, Transform::None)),
            ),
        ];
        for (header, offered, want) in cases {
            let got = accept(header, offered).map(|a| (a.format, a.transform));
            assert_eq!(got, want, "{header}");
        }
    }
}
