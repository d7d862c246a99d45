//! The CRI log format: `RFC3339NANO STREAM TAGS TEXT`, and what is shown of it.
//!
//! Invariant: pure; bytes in, bytes out.

use base::time::Timestamp;

use super::{Query, Stream};

/// One line of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) stream: Stream,
    /// The writer's line goes on in the next CRI line.
    pub(super) partial: bool,
    /// Without the newline of the CRI line.
    pub(super) text: &'a [u8],
}

/// Parses a line without its newline.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, &'static str> {
    let mut fields = line.splitn(4, |b| *b == b' ');
    let mut next = |missing| fields.next().ok_or(missing);
    let time = next("timestamp is not found")?;
    let stream = next("stream type is not found")?;
    let tags = next("log tag is not found")?;
    let text = next("log content is not found")?;
    let time = std::str::from_utf8(time).ok().and_then(|t| Timestamp::parse(t).ok());
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return Err("unexpected stream type"),
    };
    let partial = tags.split(|b| *b == b':').next() == Some(b"P");
    Ok(Line { time: time.ok_or("unexpected timestamp format")?, stream, partial, text })
}

/// Turns lines into output.
pub(super) struct Writer {
    timestamps: bool,
    since: Option<Timestamp>,
    stream: Option<Stream>,
    left: Option<u64>,
    at_start: bool,
}

impl Writer {
    pub(super) fn new(query: &Query) -> Self {
        Self {
            timestamps: query.timestamps,
            since: query.since,
            stream: query.stream,
            left: query.limit_bytes,
            at_start: true,
        }
    }

    /// Adds a line's output; whether more may follow.
    pub(super) fn write(&mut self, line: &Line<'_>, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        let old = self.since.is_some_and(|since| line.time < since);
        if !old && self.stream.is_none_or(|stream| stream == line.stream) {
            if self.timestamps && self.at_start {
                out.extend_from_slice(line.time.rfc3339_nano().as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.text);
            if !line.partial {
                out.push(b'\n');
            }
            self.at_start = !line.partial;
        }
        let Some(left) = &mut self.left else { return true };
        let keep = usize::try_from(*left).unwrap_or(usize::MAX).min(out.len() - from);
        out.truncate(from + keep);
        *left -= keep as u64;
        *left > 0
    }
}
