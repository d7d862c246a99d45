//! Frames: eight bytes of head, then what the type says.
//!
//! Invariant: pure; a frame is decoded once it is complete, and none is larger than [`FRAME_MAX`].

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::headers::{Headers, Packer, Unpacker};

/// Bytes of a frame after its head. Kubernetes clients write at most 32 KiB at once.
const FRAME_MAX: usize = 4 << 20;
const VERSION: u16 = 3;
const FIN: u8 = 1;
const ID: u32 = 0x7fff_ffff;

/// A frame of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// `SYN_STREAM`
    Open { stream: u32, headers: Headers, fin: bool },
    /// `SYN_REPLY`
    Reply { stream: u32, headers: Headers },
    /// `DATA`
    Data { stream: u32, fin: bool, data: Bytes },
    /// `RST_STREAM`
    Reset { stream: u32, code: u32 },
    /// `PING`
    Ping(u32),
    /// `GOAWAY`
    GoAway,
    /// `SETTINGS`, `HEADERS`, `WINDOW_UPDATE`: read and without meaning here.
    Ignored,
}

/// Bytes to frames.
pub(crate) struct Decoder(Unpacker);

/// Frames to bytes.
pub(crate) struct Encoder(Packer);

fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self(Unpacker::new())
    }

    /// Takes the next frame off the front of `buffer`, if it is all there.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(head) = buffer.first_chunk::<8>() else { return Ok(None) };
        let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length =
            usize::try_from(u32::from_be_bytes([0, head[5], head[6], head[7]])).unwrap_or(usize::MAX);
        if length > FRAME_MAX {
            return Err(bad(format!("a frame of {length} bytes")));
        }
        if buffer.len() < 8 + length {
            buffer.reserve(8 + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(8);
        let mut body = buffer.split_to(length).freeze();
        if word & !ID == 0 {
            return Ok(Some(Frame::Data { stream: word, fin: flags & FIN != 0, data: body }));
        }
        let version = (word >> 16) & 0x7fff;
        if version != u32::from(VERSION) {
            return Err(bad(format!("SPDY version {version}")));
        }
        let kind = word & 0xffff;
        let needed = match kind {
            1 => 10,
            2 | 6 => 4,
            3 | 7 => 8,
            8 => 4,
            _ => 0,
        };
        if body.len() < needed {
            return Err(bad(format!("a truncated frame of type {kind}")));
        }
        Ok(Some(match kind {
            1 => {
                let stream = body.get_u32() & ID;
                body.advance(6);
                Frame::Open { stream, headers: self.0.unpack(&body)?, fin: flags & FIN != 0 }
            }
            2 => Frame::Reply { stream: body.get_u32() & ID, headers: self.0.unpack(&body)? },
            3 => Frame::Reset { stream: body.get_u32() & ID, code: body.get_u32() },
            6 => Frame::Ping(body.get_u32()),
            7 => Frame::GoAway,
            8 => {
                // Unpacked all the same: the zlib stream goes on.
                self.0.unpack(&body[4..])?;
                Frame::Ignored
            }
            4 | 9 => Frame::Ignored,
            kind => return Err(bad(format!("a frame of type {kind}"))),
        }))
    }
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self(Packer::new())
    }

    pub(crate) fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> io::Result<()> {
        match frame {
            Frame::Open { stream, headers, fin } => {
                let block = self.0.pack(headers)?;
                control(out, 1, u8::from(*fin), block.len() + 10);
                out.put_u32(*stream);
                out.put_u32(0);
                out.put_u16(0);
                out.extend_from_slice(&block);
            }
            Frame::Reply { stream, headers } => {
                let block = self.0.pack(headers)?;
                control(out, 2, 0, block.len() + 4);
                out.put_u32(*stream);
                out.extend_from_slice(&block);
            }
            Frame::Data { stream, fin, data } => {
                let mut rest = data.as_ref();
                loop {
                    let (now, later) = rest.split_at(rest.len().min(FRAME_MAX));
                    out.put_u32(*stream);
                    length(out, if *fin && later.is_empty() { FIN } else { 0 }, now.len());
                    out.extend_from_slice(now);
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            Frame::Reset { stream, code } => {
                control(out, 3, 0, 8);
                out.put_u32(*stream);
                out.put_u32(*code);
            }
            Frame::Ping(id) => {
                control(out, 6, 0, 4);
                out.put_u32(*id);
            }
            Frame::GoAway => {
                control(out, 7, 0, 8);
                out.put_u64(0);
            }
            Frame::Ignored => (),
        }
        Ok(())
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, size: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    length(out, flags, size);
}

fn length(out: &mut BytesMut, flags: u8, size: usize) {
    let size = u32::try_from(size).expect("frames are at most FRAME_MAX");
    out.put_u32(u32::from(flags) << 24 | size);
}
