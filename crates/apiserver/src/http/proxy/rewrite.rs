//! Paths and links as whoever stands before a proxy sees them. Pure.
//!
//! Invariant: a link within the server behind the proxy leads through the proxy afterwards; a link elsewhere, or one that is
//! relative to where it stands, stays as it is. Absent: links that scripts and styles make.

/// Elements whose attributes are links.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("track", &["src"]),
    ("video", &["poster", "src"]),
];
/// Elements whose content is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// A path without empty, `.` and `..` parts, as far as they go; a slash at its end stays.
pub(super) fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

/// What a link is rewritten by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links<'a> {
    /// The proxy's own path, before that of the server behind it.
    pub(super) prefix: &'a str,
    /// The server behind it.
    pub(super) server: &'a str,
    /// The host that the client asked.
    pub(super) host: &'a str,
}

impl Links<'_> {
    /// A link as it is to be, if that is another one.
    pub(super) fn link(&self, link: &str) -> Option<String> {
        let (host, before) = host(link);
        let rest = &link[before..];
        if (!host.is_empty() && host != self.server && host != self.host) || !rest.starts_with('/') {
            return None;
        }
        if rest.starts_with(self.prefix) {
            return (before > 0).then(|| rest.to_owned());
        }
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, query) = rest.split_at(end);
        Some(format!("{}{}{query}", self.prefix, cleaned(path)))
    }

    /// A document with its links rewritten; everything else stays byte for byte.
    pub(super) fn document(&self, html: &str) -> String {
        let mut out = String::with_capacity(html.len() + 256);
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let taken = self.markup(rest, &mut out);
            rest = &rest[taken..];
        }
        out.push_str(rest);
        out
    }

    /// Takes what begins with `<`; says how much that was.
    fn markup(&self, text: &str, out: &mut String) -> usize {
        if text.starts_with("<!--") {
            let end = text.find("-->").map_or(text.len(), |at| at + 3);
            out.push_str(&text[..end]);
            return end;
        }
        let name_end = text[1..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(text.len(), |at| at + 1);
        let name = text[1..name_end].to_ascii_lowercase();
        if name.is_empty() {
            out.push('<');
            return 1;
        }
        out.push_str(&text[..name_end]);
        let links = LINKS.iter().find(|(tag, _)| *tag == name).map_or(&[][..], |(_, attributes)| attributes);
        let mut at = name_end + self.attributes(&text[name_end..], links, out);
        if RAW.contains(&name.as_str()) {
            let close = format!("</{name}");
            let end = text[at..].to_ascii_lowercase().find(&close).map_or(text.len(), |end| at + end);
            out.push_str(&text[at..end]);
            at = end;
        }
        at
    }

    /// Takes attributes up to the `>`; says how much that was.
    fn attributes(&self, text: &str, links: &[&str], out: &mut String) -> usize {
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if rest.starts_with('>') {
                out.push('>');
                return at + 1;
            }
            let name =
                &rest[..rest.find(|c: char| c.is_whitespace() || "=>/".contains(c)).unwrap_or(rest.len())];
            if name.is_empty() {
                let first = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..first]);
                at += first;
                continue;
            }
            out.push_str(name);
            at += name.len();
            let Some((lead, value, length)) = value(&text[at..]) else { continue };
            let is_link = links.contains(&name.to_ascii_lowercase().as_str());
            let new = if is_link { self.link(value) } else { None };
            let end = &text[at + lead + value.len()..at + length];
            out.push_str(&text[at..at + lead]);
            out.push_str(new.as_deref().unwrap_or(value));
            out.push_str(end);
            at += length;
        }
        at
    }
}

/// An attribute's value, how much stands before it (`="`), and how much it is with its quotes.
fn value(text: &str) -> Option<(usize, &str, usize)> {
    let spaces =
        |from: usize| from + text[from..].find(|c: char| !c.is_whitespace()).unwrap_or(text.len() - from);
    let equals = spaces(0);
    if !text[equals..].starts_with('=') {
        return None;
    }
    let begin = spaces(equals + 1);
    let quote = text[begin..].chars().next().filter(|c| matches!(c, '"' | '\''));
    match quote {
        Some(quote) => {
            let length = text[begin + 1..].find(quote)?;
            Some((begin + 1, &text[begin + 1..begin + 1 + length], begin + length + 2))
        }
        None => {
            let length = text[begin..].find(|c: char| c.is_whitespace() || c == '>');
            let end = begin + length.unwrap_or(text.len() - begin);
            Some((begin, &text[begin..end], end))
        }
    }
}

/// A link's host, and where its path begins.
fn host(link: &str) -> (&str, usize) {
    let begin = match link.find("//") {
        Some(0) => 2,
        Some(at)
            if link[..at].ends_with(':') && link[..at - 1].bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            at + 2
        }
        _ => return ("", 0),
    };
    let end = link[begin..].find(['/', '?', '#']).map_or(link.len(), |at| begin + at);
    (&link[begin..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: Links<'static> = Links { prefix: "/p/proxy", server: "10.0.0.2:80", host: "api:6443" };

    #[test]
    fn paths() {
        for (path, want) in [
            ("", "/"),
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a//b/./c", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("/../", "/"),
            ("/a%2Fb", "/a%2Fb"),
        ] {
            assert_eq!(cleaned(path), want, "{path}");
        }
    }

    #[test]
    fn links() {
        for (link, want) in [
            ("/x", Some("/p/proxy/x")),
            ("/x/?q=/y#z", Some("/p/proxy/x/?q=/y#z")),
            ("/", Some("/p/proxy/")),
            ("http://10.0.0.2:80/x", Some("/p/proxy/x")),
            ("https://api:6443/x", Some("/p/proxy/x")),
            ("//10.0.0.2:80/x", Some("/p/proxy/x")),
            ("http://elsewhere/x", None),
            ("x", None),
            ("?q=1", None),
            ("mailto:a@b", None),
            ("/p/proxy/x", None),
            ("http://10.0.0.2:80/p/proxy/x", Some("/p/proxy/x")),
            ("http://10.0.0.2:80", None),
        ] {
            assert_eq!(LINKS.link(link).as_deref(), want, "{link}");
        }
    }

    #[test]
    fn documents() {
        for (html, want) in [
            ("<a href=\"/rewriteme\">test</a>", "<a href=\"/p/proxy/rewriteme\">test</a>"),
            ("<A class=b HREF = '/x' id>é</A>", "<A class=b HREF = '/p/proxy/x' id>é</A>"),
            ("<img src=/x alt=\"/x\"/>", "<img src=/p/proxy/x alt=\"/x\"/>"),
            ("<p title=\"<a href='/x'>\">1 < 2</p>", "<p title=\"<a href='/x'>\">1 < 2</p>"),
            ("<!-- <a href=\"/x\"> --><b>", "<!-- <a href=\"/x\"> --><b>"),
            (
                "<script src=\"/s\">'<a href=\"/x\">'</script>",
                "<script src=\"/p/proxy/s\">'<a href=\"/x\">'</script>",
            ),
            ("<a href=\"x\"", "<a href=\"x\""),
            ("<a href=\"", "<a href=\""),
            ("<", "<"),
            ("</a><!DOCTYPE html>", "</a><!DOCTYPE html>"),
        ] {
            assert_eq!(LINKS.document(html), want, "{html}");
        }
    }
}
