//! Header blocks: a count, then names and values with lengths, compressed with one zlib stream per direction whose
//! dictionary SPDY/3 fixes.
//!
//! Invariant: what a block may unpack to is bounded.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Names are lower case; several values are separated by NUL.
pub(crate) type Headers = BTreeMap<String, String>;

/// Unpacked bytes of one block.
const BLOCK_MAX: usize = 256 << 10;

const DICTIONARY_NAMES: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base content-encoding \
    content-language content-length content-location content-md5 content-range content-type date etag expect expires \
    from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location \
    max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer \
    transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 \
    url public set-cookie keep-alive origin";

const DICTIONARY_TAIL: &str = "10010120120220520630030230330430530630740240540640740840941041141241341441541641750250\
    4505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 \
    Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun \
    Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,\
    image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
    sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary of the SPDY/3 draft, section 2.6.10.1.
fn dictionary() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut bytes = Vec::with_capacity(1423);
        for name in DICTIONARY_NAMES.split_whitespace() {
            let name = name.replace('_', " ");
            bytes.extend_from_slice(&u32::try_from(name.len()).expect("names are short").to_be_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(DICTIONARY_TAIL.as_bytes());
        bytes
    })
}

/// Compresses the blocks of one direction.
pub(crate) struct Packer(Compress);

/// Decompresses the blocks of one direction.
pub(crate) struct Unpacker(Decompress);

fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

impl Packer {
    pub(crate) fn new() -> Self {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(dictionary()).expect("a fresh stream takes a dictionary");
        Self(zlib)
    }

    pub(crate) fn pack(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let put = |plain: &mut Vec<u8>, n: usize| -> io::Result<()> {
            plain.extend_from_slice(&u32::try_from(n).map_err(|_| bad("headers too long"))?.to_be_bytes());
            Ok(())
        };
        put(&mut plain, headers.len())?;
        for (name, value) in headers {
            for text in [name, value] {
                put(&mut plain, text.len())?;
                plain.extend_from_slice(text.as_bytes());
            }
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let mut rest = plain.as_slice();
        loop {
            out.reserve(256);
            let before = self.0.total_in();
            self.0.compress_vec(rest, &mut out, FlushCompress::Sync).map_err(|e| bad(e.to_string()))?;
            rest = &rest[usize::try_from(self.0.total_in() - before).expect("at most what was given")..];
            // Room left over means that everything was flushed.
            if rest.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(crate) fn unpack(&mut self, block: &[u8]) -> io::Result<Headers> {
        let mut plain = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            plain.reserve(1024);
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            rest = &rest[usize::try_from(self.0.total_in() - read).expect("at most what was given")..];
            match result {
                Ok(Status::StreamEnd) => return Err(bad("the header stream ended")),
                Ok(_) => (),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(dictionary()).map_err(|e| bad(e.to_string()))?;
                    continue;
                }
                Err(error) => return Err(bad(format!("damaged header block: {error}"))),
            }
            if plain.len() > BLOCK_MAX {
                return Err(bad("header block too large"));
            }
            let idle = self.0.total_in() == read && self.0.total_out() == written;
            if rest.is_empty() && plain.len() < plain.capacity() || idle {
                return parse(&plain);
            }
        }
    }
}

fn parse(plain: &[u8]) -> io::Result<Headers> {
    let mut rest = plain;
    let number = |rest: &mut &[u8]| -> io::Result<usize> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| bad("truncated header block"))?;
        *rest = tail;
        Ok(u32::from_be_bytes(*head) as usize)
    };
    let count = number(&mut rest)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let mut text = || -> io::Result<String> {
            let length = number(&mut rest)?;
            let (head, tail) = rest.split_at_checked(length).ok_or_else(|| bad("truncated header block"))?;
            rest = tail;
            String::from_utf8(head.to_vec()).map_err(|_| bad("a header is not text"))
        };
        let (name, value) = (text()?, text()?);
        if headers.insert(name.to_ascii_lowercase(), value).is_some() {
            return Err(bad("a header comes twice"));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_spdys() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        // What zlib streams of other implementations name in their header.
        assert_eq!((dictionary().len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_share_one_zlib_stream() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        let mut sizes = Vec::new();
        for n in 0..3 {
            let headers = Headers::from([
                ("streamtype".to_owned(), "error".to_owned()),
                ("port".to_owned(), format!("808{n}")),
            ]);
            let block = packer.pack(&headers).unwrap();
            sizes.push(block.len());
            assert_eq!(unpacker.unpack(&block).unwrap(), headers);
        }
        assert!(sizes[1] < sizes[0], "{sizes:?}");
        let large = Headers::from([(
            "x".to_owned(),
            (0..50_000).map(|n| format!("{n}")).collect::<String>()[..200_000].to_owned(),
        )]);
        assert_eq!(unpacker.unpack(&packer.pack(&large).unwrap()).unwrap(), large);
        assert_eq!(unpacker.unpack(&packer.pack(&Headers::new()).unwrap()).unwrap(), Headers::new());
    }

    #[test]
    fn damaged_and_huge_blocks() {
        assert!(Unpacker::new().unpack(b"junk").is_err());
        assert!(Unpacker::new().unpack(b"").is_err());
        let bomb = Headers::from([("x".to_owned(), "0".repeat(1 << 20))]);
        let block = Packer::new().pack(&bomb).unwrap();
        assert!(Unpacker::new().unpack(&block).unwrap_err().to_string().contains("too large"));
        for plain in [
            &b"\0\0\0\x01"[..],
            b"\0\0\0\x01\xff\xff\xff\xffx",
            b"\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0\x01A\0\0\0\0",
        ] {
            assert!(parse(plain).is_err(), "{plain:?}");
        }
    }
}
