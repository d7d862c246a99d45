//! Readers that measure, decompress and limit what flows through them, and the tar format.
//!
//! Invariants: memory use does not depend on what the input claims; a measured stream is hashed exactly as read.
//! Absent: sparse tar members, bzip2 and xz.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

/// What has flowed through a [`Measured`] reader.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) hash: Sha256,
    pub(crate) bytes: u64,
    /// The source itself failed, so the digest means nothing.
    pub(crate) failed: bool,
}

/// Hashes and counts.
pub(crate) struct Measured<R> {
    inner: R,
    meter: Rc<RefCell<Meter>>,
}

impl<R: Read> Measured<R> {
    pub(crate) fn new(inner: R) -> (Self, Rc<RefCell<Meter>>) {
        let meter = Rc::new(RefCell::new(Meter::default()));
        (Self { inner, meter: Rc::clone(&meter) }, meter)
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        let mut meter = self.meter.borrow_mut();
        match &result {
            Ok(n) => {
                meter.hash.update(&buffer[..*n]);
                meter.bytes += *n as u64;
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => meter.failed = true,
            Err(_) => (),
        }
        result
    }
}

/// Plain bytes of gzip, zstd or uncompressed input, told by its first bytes.
pub(crate) fn decompress<'a>(input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let magic = input.fill_buf()?;
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        [b'B', b'Z', b'h', ..] => return Err(io::Error::other("bzip2 compression is not supported")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            return Err(io::Error::other("xz compression is not supported"));
        }
        _ => Box::new(input),
    })
}

/// Whether [`decompress`] would not pass these first bytes through.
pub(crate) fn is_compressed(magic: &[u8]) -> bool {
    matches!(
        magic,
        [0x1f, 0x8b, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [b'B', b'Z', b'h', ..]
            | [0xfd, b'7', b'z', b'X', b'Z', ..]
    )
}

/// Marks errors of [`Bounded`], so that they are told from the input's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LimitExceeded(pub(crate) String);

/// Fails once more than `limit` bytes came, or the ratio to the compressed input is out of bounds.
pub(crate) struct Bounded<R> {
    pub(crate) inner: R,
    pub(crate) compressed: Rc<RefCell<Meter>>,
    pub(crate) limits: crate::config::Limits,
    pub(crate) seen: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.seen += n as u64;
        if self.seen > self.limits.layer_bytes {
            let message = format!("unpacks to more than the {} bytes allowed", self.limits.layer_bytes);
            return Err(io::Error::other(LimitExceeded(message)));
        }
        let compressed = self.compressed.borrow().bytes.max(1);
        if self.seen > self.limits.ratio_from && self.seen / compressed > self.limits.ratio {
            let message =
                format!("decompression bomb: {compressed} bytes unpack to more than {} bytes", self.seen);
            return Err(io::Error::other(LimitExceeded(message)));
        }
        Ok(n)
    }
}

/// What a tar header, with the extension headers before it, says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    /// The type flag; `b'0'` for files, `b'5'` for directories.
    pub(crate) kind: u8,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u64, u64),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where its content starts in the archive.
    pub(crate) offset: u64,
}

/// Extension headers (long names, PAX) above this are refused.
const EXTENSION_MAX: u64 = 1 << 20;
const BLOCK: u64 = 512;

/// Reads a tar archive once, front to back; as a reader it yields the current member's content.
pub(crate) struct Tar<R> {
    inner: R,
    position: u64,
    left: u64,
    padding: u64,
}

#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<(Vec<u8>, Vec<u8>)>,
}

fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

impl<R: Read> Tar<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, position: 0, left: 0, padding: 0 }
    }

    /// The next member, or `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut pending = Pending::default();
        let mut extended = false;
        loop {
            let rest = self.left + self.padding;
            (self.left, self.padding) = (0, 0);
            self.skip(rest)?;
            let Some(block) = self.block()? else {
                return if extended {
                    Err(bad("the archive ends after an extension header"))
                } else {
                    Ok(None)
                };
            };
            let mut member = header(&block)?;
            match member.kind {
                b'L' => pending.path = Some(until_nul(&self.extension(&member)?)),
                b'K' => pending.link = Some(until_nul(&self.extension(&member)?)),
                b'x' => pending.pax = pax(&self.extension(&member)?)?,
                b'g' => self.enter(member.size),
                b'S' => return Err(bad("sparse members are not supported")),
                _ => {
                    apply(&mut member, pending)?;
                    member.offset = self.position;
                    if matches!(member.kind, 0 | b'7') {
                        member.kind = if member.path.ends_with(b"/") { b'5' } else { b'0' };
                    }
                    self.enter(if member.kind == b'0' { member.size } else { 0 });
                    return Ok(Some(member));
                }
            }
            extended = member.kind != b'g';
        }
    }

    fn enter(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
    }

    fn extension(&mut self, member: &Member) -> io::Result<Vec<u8>> {
        if member.size > EXTENSION_MAX {
            return Err(bad(format!("an extension header of {} bytes", member.size)));
        }
        self.enter(member.size);
        let mut data = Vec::new();
        self.read_to_end(&mut data)?;
        Ok(data)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.inner).take(bytes), &mut io::sink())?;
        self.position += skipped;
        if skipped < bytes { Err(truncated()) } else { Ok(()) }
    }

    fn block(&mut self) -> io::Result<Option<[u8; BLOCK as usize]>> {
        let mut block = [0; BLOCK as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        self.position += BLOCK;
        Ok(block.iter().any(|byte| *byte != 0).then_some(block))
    }

    /// The reader beneath, to drain what follows the archive.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "truncated archive")
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(truncated());
        }
        self.left -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}

fn header(block: &[u8; BLOCK as usize]) -> io::Result<Member> {
    let sum: u64 =
        block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
    if number(&block[148..156]) != Some(sum) {
        return Err(bad("not a tar archive, or damaged: wrong header checksum"));
    }
    let field = |from: usize, to: usize, what: &str| {
        number(&block[from..to]).ok_or_else(|| bad(format!("damaged tar header: {what} is not a number")))
    };
    let name = until_nul(&block[..100]);
    let posix = block[257..263] == *b"ustar\0";
    let prefix = if posix { until_nul(&block[345..500]) } else { Vec::new() };
    let kind = block[156];
    let device = if matches!(kind, b'3' | b'4') {
        (field(329, 337, "the device")?, field(337, 345, "the device")?)
    } else {
        (0, 0)
    };
    Ok(Member {
        path: if prefix.is_empty() { name } else { [prefix, name].join(&b'/') },
        link: until_nul(&block[157..257]),
        kind,
        size: field(124, 136, "the size")?,
        mode: u32::try_from(field(100, 108, "the mode")? & 0o7777).expect("twelve bits"),
        uid: field(108, 116, "the uid")?,
        gid: field(116, 124, "the gid")?,
        mtime: (i64::try_from(field(136, 148, "the mtime")?).unwrap_or(0), 0),
        device,
        ..Member::default()
    })
}

/// Octal text, or GNU's base-256 with the top bit set. Empty is zero.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let mut value: u64 = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            value = value.checked_mul(256)? + u64::from(*byte);
        }
        return Some(value);
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// `LENGTH KEY=VALUE\n` records; values may hold any byte.
fn pax(mut data: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !data.is_empty() && data[0] != 0 {
        let record = (|| {
            let space = data.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
            let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = body.iter().position(|byte| *byte == b'=')?;
            Some((length, body[..equals].to_vec(), body[equals + 1..].to_vec()))
        })();
        let (length, key, value) = record.ok_or_else(|| bad("damaged PAX header"))?;
        records.push((key, value));
        data = &data[length..];
    }
    Ok(records)
}

fn apply(member: &mut Member, pending: Pending) -> io::Result<()> {
    if let Some(path) = pending.path {
        member.path = path;
    }
    if let Some(link) = pending.link {
        member.link = link;
    }
    for (key, value) in pending.pax {
        let text = || {
            std::str::from_utf8(&value)
                .map_err(|_| bad(format!("PAX record {} is not text", String::from_utf8_lossy(&key))))
        };
        let integer = || {
            text()?
                .parse::<u64>()
                .map_err(|_| bad(format!("PAX record {} is not a number", String::from_utf8_lossy(&key))))
        };
        match key.as_slice() {
            b"path" => member.path = value,
            b"linkpath" => member.link = value,
            b"size" => member.size = integer()?,
            b"uid" => member.uid = integer()?,
            b"gid" => member.gid = integer()?,
            b"mtime" => {
                member.mtime = pax_time(text()?).ok_or_else(|| bad("PAX record mtime is not a time"))?
            }
            key if key.starts_with(b"GNU.sparse.") => return Err(bad("sparse members are not supported")),
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    member.xattrs.push((name.to_vec(), value));
                }
            }
        }
    }
    Ok(())
}

fn pax_time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(if seconds.starts_with('-') && nanos > 0 {
        (whole.checked_sub(1)?, 1_000_000_000 - nanos)
    } else {
        (whole, nanos)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases: [(&[u8], Option<u64>); 6] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\x20\0\0", Some(1 << 21)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"junk\0\0\0\0", None),
        ];
        for (field, want) in cases {
            assert_eq!(number(field), want, "{field:?}");
        }
    }

    #[test]
    fn times() {
        let cases = [
            ("5", Some((5, 0))),
            ("5.25", Some((5, 250_000_000))),
            ("-1.5", Some((-2, 500_000_000))),
            ("x", None),
            ("1.x", None),
        ];
        for (text, want) in cases {
            assert_eq!(pax_time(text), want, "{text}");
        }
    }

    #[test]
    fn pax_values_may_hold_newlines() {
        let data = b"14 a=x\ny=z\n12\n".to_vec();
        assert_eq!(pax(&data[..14]).unwrap(), [(b"a".to_vec(), b"x\ny=z\n12".to_vec())]);
        for bad in [&b"9 a=x\n"[..], b"x a=x\n", b"6 axx\n", b"5 a=xx\n"] {
            assert!(pax(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn damaged_archives() {
        assert!(Tar::new(&b"not a tar"[..]).next().is_err());
        assert!(Tar::new(&[b'x'; 512][..]).next().unwrap_err().to_string().contains("checksum"));
        assert!(Tar::new(&[0; 512][..]).next().unwrap().is_none());
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1000);
        header.set_cksum();
        builder.append_data(&mut header, "f", &[1; 1000][..]).unwrap();
        let whole = builder.into_inner().unwrap();
        let mut tar = Tar::new(&whole[..700]);
        assert_eq!(tar.next().unwrap().unwrap().path, b"f");
        assert_eq!(tar.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn compression_is_told_by_its_magic() {
        use std::io::Write as _;
        let plain = b"hello".repeat(100);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        for packed in [plain.clone(), gz.finish().unwrap(), zstd::encode_all(&plain[..], 1).unwrap()] {
            let mut out = Vec::new();
            decompress(&packed[..]).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, plain);
        }
        assert!(decompress(&b"BZh91AY"[..]).is_err());
    }
}
