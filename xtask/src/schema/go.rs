//! Facts that only Go's types hold (pointers, `omitempty`, names of scalar types), read from the reflection data that
//! every Go program carries: here kubectl's, which links all of `k8s.io/api`.
//!
//! Invariant: reads only the ELF sections `.rodata` and `.typelink` of a 64-bit little-endian, statically placed binary,
//! with the layouts of `internal/abi` in Go 1.26. Deliberately absent: methods, channels, functions.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, bail};

/// One JSON field of a Go struct; embedded structs are flattened.
#[derive(Debug, Clone)]
pub struct GoField {
    /// JSON name.
    pub json: String,
    /// Behind a pointer.
    pub pointer: bool,
    /// `omitempty` or `omitzero`.
    pub omit_empty: bool,
    /// `omitzero`, which drops empty structs too.
    pub omit_zero: bool,
    /// A named scalar or map type (also of a list's items), e.g. `v1.Protocol`.
    pub named: Option<String>,
}

/// Package path and type name (`k8s.io/api/core/v1.PodSpec`) to fields.
pub type GoTypes = BTreeMap<String, Vec<GoField>>;

const ARRAY: u8 = 17;
const INTERFACE_LIKE: [u8; 3] = [18, 22, 23];
const MAP: u8 = 21;
const POINTER: u8 = 22;
const SLICE: u8 = 23;
const STRING: u8 = 24;
const STRUCT: u8 = 25;
const FLAG_UNCOMMON: u8 = 1;
const FLAG_EXTRA_STAR: u8 = 2;
const FLAG_NAMED: u8 = 4;

struct Binary<'a> {
    bytes: &'a [u8],
    sections: BTreeMap<String, (u64, usize, usize)>,
    base: u64,
}

struct Type {
    kind: u8,
    flags: u8,
    name: String,
}

struct RawField {
    name: String,
    tag: String,
    embedded: bool,
    ty: u64,
}

/// Reads all named struct types of a Go program.
///
/// # Errors
/// If the file is not such a program.
pub fn types(bytes: &[u8]) -> Result<GoTypes> {
    let binary = Binary::open(bytes)?;
    let (_, at, size) = binary.sections[".typelink"];
    let mut pending: Vec<u64> = bytes[at..at + size]
        .chunks_exact(4)
        .map(|c| binary.base + u64::from(u32::from_le_bytes([c[0], c[1], c[2], c[3]])))
        .collect();
    let mut seen = HashSet::new();
    let mut out = GoTypes::new();
    while let Some(at) = pending.pop() {
        if at == 0 || !seen.insert(at) {
            continue;
        }
        let ty = binary.ty(at)?;
        match ty.kind {
            ARRAY => pending.push(binary.u64(at + 48)?),
            kind if INTERFACE_LIKE.contains(&kind) => pending.push(binary.u64(at + 48)?),
            MAP => pending.extend([binary.u64(at + 48)?, binary.u64(at + 56)?]),
            STRUCT => {
                let raw = binary.fields(at)?;
                pending.extend(raw.iter().map(|f| f.ty));
                if ty.flags & FLAG_NAMED != 0 && ty.flags & FLAG_UNCOMMON != 0 {
                    let package = binary.name(binary.base + u64::from(binary.u32(at + 80)?))?.0;
                    let name = ty.name.rsplit('.').next().unwrap_or_default();
                    out.insert(format!("{package}.{name}"), binary.json_fields(&raw)?);
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

impl<'a> Binary<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            bail!("not a 64-bit little-endian ELF file");
        }
        let mut binary = Binary { bytes, sections: BTreeMap::new(), base: 0 };
        let table = usize::try_from(binary.file_u64(0x28)?)?;
        let header = |n: usize| table + n * 64;
        let count = usize::from(binary.file_u16(0x3c)?);
        let names = usize::try_from(binary.file_u64(header(usize::from(binary.file_u16(0x3e)?)) + 24)?)?;
        for n in 0..count {
            let name = names + usize::try_from(binary.file_u64(header(n))? & 0xffff_ffff)?;
            let end = bytes[name..].iter().position(|b| *b == 0).context("section name")?;
            let name = String::from_utf8_lossy(&bytes[name..name + end]).into_owned();
            let place = (
                binary.file_u64(header(n) + 16)?,
                usize::try_from(binary.file_u64(header(n) + 24)?)?,
                usize::try_from(binary.file_u64(header(n) + 32)?)?,
            );
            binary.sections.insert(name, place);
        }
        binary.base = binary.sections.get(".rodata").context("no .rodata")?.0;
        binary.sections.get(".typelink").context("no .typelink: not a Go program")?;
        Ok(binary)
    }

    fn file_u64(&self, at: usize) -> Result<u64> {
        let bytes = self.bytes.get(at..at + 8).context("file too short")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    }

    fn file_u16(&self, at: usize) -> Result<u16> {
        let bytes = self.bytes.get(at..at + 2).context("file too short")?;
        Ok(u16::from_le_bytes(bytes.try_into()?))
    }

    fn offset(&self, address: u64) -> Result<usize> {
        for (start, at, size) in self.sections.values() {
            if *start != 0 && (*start..*start + *size as u64).contains(&address) {
                return Ok(at + usize::try_from(address - start)?);
            }
        }
        bail!("address {address:#x} is in no section")
    }

    fn u64(&self, address: u64) -> Result<u64> {
        self.file_u64(self.offset(address)?)
    }

    fn u32(&self, address: u64) -> Result<u32> {
        Ok(u32::try_from(self.u64(address)? & 0xffff_ffff)?)
    }

    fn u8(&self, address: u64) -> Result<u8> {
        self.bytes.get(self.offset(address)?).copied().context("file too short")
    }

    fn text(&self, at: &mut usize) -> Result<String> {
        let (mut len, mut shift) = (0usize, 0);
        loop {
            let byte = *self.bytes.get(*at).context("name beyond the file")?;
            *at += 1;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let bytes = self.bytes.get(*at..*at + len).context("name beyond the file")?;
        *at += len;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A name, its tag, and whether it is an embedded field's.
    fn name(&self, address: u64) -> Result<(String, String, bool)> {
        let mut at = self.offset(address)?;
        let flags = self.bytes[at];
        at += 1;
        let name = self.text(&mut at)?;
        let tag = if flags & 2 == 0 { String::new() } else { self.text(&mut at)? };
        Ok((name, tag, flags & 8 != 0))
    }

    fn ty(&self, at: u64) -> Result<Type> {
        let flags = self.u8(at + 20)?;
        let kind = self.u8(at + 23)? & 31;
        let mut name = self.name(self.base + u64::from(self.u32(at + 40)?))?.0;
        if flags & FLAG_EXTRA_STAR != 0 {
            name.remove(0);
        }
        Ok(Type { kind, flags, name })
    }

    fn fields(&self, at: u64) -> Result<Vec<RawField>> {
        let (list, count) = (self.u64(at + 56)?, self.u64(at + 64)?);
        (0..count)
            .map(|n| {
                let entry = list + n * 24;
                let (name, tag, embedded) = self.name(self.u64(entry)?)?;
                Ok(RawField { name, tag, embedded, ty: self.u64(entry + 8)? })
            })
            .collect()
    }

    fn json_fields(&self, raw: &[RawField]) -> Result<Vec<GoField>> {
        let mut out = Vec::new();
        for field in raw {
            let tag = field.tag.split("json:\"").nth(1).and_then(|t| t.split('"').next());
            let mut parts = tag.unwrap_or_default().split(',');
            let json = parts.next().unwrap_or_default();
            let options: Vec<&str> = parts.collect();
            let ty = self.ty(field.ty)?;
            if json.is_empty() && (field.embedded || options.contains(&"inline")) {
                if ty.kind == STRUCT {
                    out.extend(self.json_fields(&self.fields(field.ty)?)?);
                }
                continue;
            }
            if json == "-" || tag.is_none() {
                continue;
            }
            let mut inner = field.ty;
            while [POINTER, SLICE].contains(&self.ty(inner)?.kind) {
                inner = self.u64(inner + 48)?;
            }
            let inner = self.ty(inner)?;
            let is_scalar = inner.kind < ARRAY || [MAP, STRING].contains(&inner.kind);
            out.push(GoField {
                json: if json.is_empty() { field.name.clone() } else { json.to_owned() },
                pointer: ty.kind == POINTER,
                omit_empty: options.iter().any(|o| o.starts_with("omit")),
                omit_zero: options.contains(&"omitzero"),
                named: (is_scalar && inner.flags & FLAG_NAMED != 0 && inner.name.contains('.'))
                    .then_some(inner.name),
            });
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused() {
        assert!(types(b"#!/bin/sh").is_err());
        let own = std::fs::read("/proc/self/exe").expect("this test");
        assert!(types(&own).expect_err("not Go").to_string().contains("not a Go program"));
    }
}
