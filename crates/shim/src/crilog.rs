//! CRI log lines: `RFC3339Nano stream P|F text`, as containerd writes them.
//!
//! Invariant: every byte a container wrote is in exactly one line; a line longer than 16 KiB is split into `P` lines.
//! Absent: files, rotation.

/// Longest text of one line.
pub const LINE_MAX: usize = 16 * 1024;

/// The lines of one stream; keeps what has no end yet.
#[derive(Debug, Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Appends the lines that `data` completes to `out`.
    pub fn push(&mut self, stream: &str, stamp: &[u8], mut data: &[u8], out: &mut Vec<u8>) {
        while !data.is_empty() {
            let room = LINE_MAX - self.pending.len();
            let end = data.iter().take(room + 1).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    emit(stream, stamp, b'F', &self.pending, &data[..end], out);
                    self.pending.clear();
                    data = &data[end + 1..];
                }
                None if data.len() > room => {
                    emit(stream, stamp, b'P', &self.pending, &data[..room], out);
                    self.pending.clear();
                    data = &data[room..];
                }
                None => {
                    self.pending.extend_from_slice(data);
                    return;
                }
            }
        }
    }

    /// Appends what is left without a line end; it is partial, as no newline was written.
    pub fn finish(&mut self, stream: &str, stamp: &[u8], out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            emit(stream, stamp, b'P', &self.pending, &[], out);
            self.pending = Vec::new();
        }
    }
}

fn emit(stream: &str, stamp: &[u8], tag: u8, head: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(stamp);
    out.push(b' ');
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(&[b' ', tag, b' ']);
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
    out.push(b'\n');
}

/// `2006-01-02T15:04:05.000000000Z` for Unix nanoseconds.
#[must_use]
pub fn stamp(nanoseconds: i64) -> [u8; 30] {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01 in eras of 400 years, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let mut put = |at: usize, digits: usize, mut value: i64| {
        for index in (at..at + digits).rev() {
            text[index] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second / 3600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    put(20, 9, nanoseconds.rem_euclid(1_000_000_000));
    text
}
