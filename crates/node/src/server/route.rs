//! Paths and queries of the node's endpoints.

use percent_encoding::percent_decode_str;

/// A decoded query parameter.
pub(super) type Pair = (String, String);

/// Which container of which Pod; parts that a path does not have are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) container: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Healthz,
    Pods,
    RunningPods,
    Summary,
    Usage,
    ResourceMetrics,
    Logs(Place),
    Exec(Place),
    Attach(Place),
    PortForward(Place),
}

impl Route {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8().map(|text| text.into_owned()))
            .collect::<Result<_, _>>()
            .ok()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let place = |namespace: &str, pod: &str, uid: &str, container: &str| Place {
            namespace: namespace.into(),
            pod: pod.into(),
            uid: uid.into(),
            container: container.into(),
        };
        Some(match parts.as_slice() {
            ["healthz"] => Self::Healthz,
            ["pods"] => Self::Pods,
            ["runningpods"] => Self::RunningPods,
            ["stats", "summary"] => Self::Summary,
            ["stats", "usage"] => Self::Usage,
            ["metrics", "resource"] => Self::ResourceMetrics,
            ["containerLogs", ns, pod, container] => Self::Logs(place(ns, pod, "", container)),
            ["exec", ns, pod, container] => Self::Exec(place(ns, pod, "", container)),
            ["exec", ns, pod, uid, container] => Self::Exec(place(ns, pod, uid, container)),
            ["attach", ns, pod, container] => Self::Attach(place(ns, pod, "", container)),
            ["attach", ns, pod, uid, container] => Self::Attach(place(ns, pod, uid, container)),
            ["portForward", ns, pod] => Self::PortForward(place(ns, pod, "", "")),
            ["portForward", ns, pod, uid] => Self::PortForward(place(ns, pod, uid, "")),
            _ => return None,
        })
    }
}

/// Decodes a query; bytes that are no text are replaced.
pub(super) fn pairs(query: &str) -> Vec<Pair> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let split = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries() {
        let exec = Route::parse("/exec/ns/p/c").unwrap();
        assert!(
            matches!(exec, Route::Exec(Place { ref uid, ref container, .. }) if uid.is_empty() && container == "c")
        );
        let exec = Route::parse("/exec/ns/p/u/c").unwrap();
        assert!(
            matches!(exec, Route::Exec(Place { ref uid, ref container, .. }) if uid == "u" && container == "c")
        );
        for none in ["/", "/exec", "/exec/ns/p", "/exec//p/c", "/containerLogs/a/b", "/nothing"] {
            assert_eq!(Route::parse(none), None, "{none}");
        }
        assert_eq!(Route::parse("/runningpods/"), Some(Route::RunningPods));
        let found = pairs("command=sh&command=-c&command=echo%20%22a+b%22%26&tty");
        let values: Vec<&str> = found.iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!(values, ["sh", "-c", "echo \"a b\"&", ""]);
    }
}
