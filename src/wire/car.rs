//! CAR archives (version 1), the format in which a host sends a repository: a header that names the
//! root block, then blocks in any order, each preceded by its length and its CID.
//!
//! Promises: reads chunks that are cut anywhere and buffers at most one block; rejects a block
//! whose bytes do not match the hash in its CID; buffers at most [`SECTION_MAX`]. This module
//! cannot know which blocks belong to the repository, so a reader must expect unreferenced blocks
//! of any kind, several roots, and duplicate blocks (specification "Repository").

use cbor4ii::core::dec::{Decode as _, IgnoredAny, Read as _};
use cbor4ii::core::types;
use cbor4ii::core::utils::SliceReader;
use ipld_core::cid::Cid;
use sha2::{Digest, Sha256};

use super::dag_cbor::Link;

/// The longest section that is buffered, in bytes: a CID and its block. The network allows records
/// of 1 MiB, and relays allow blocks of 2 MiB at most (atproto.com/specs/record-key, limits of
/// relays). A longer section is skipped: it cannot be part of a valid repository.
pub const SECTION_MAX: usize = 2 * 1024 * 1024;
/// The longest section that is skipped. A greater length is an error.
const LENGTH_MAX: u64 = 256 * 1024 * 1024;
/// The longest header, in bytes. A header with one root has 59.
const HEADER_MAX: usize = 64 * 1024;
/// The first bytes of a CID with a SHA-256: version 1, the codec, the hash, its length.
const DAG_CBOR: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
const RAW: [u8; 4] = [0x01, 0x55, 0x12, 0x20];

/// Why bytes are not an archive, or not one to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadArchive {
    /// Not a CAR of version 1 with a root that may be a commit.
    Header,
    /// A length is not a number, or exceeds the maximum.
    Length,
    /// A section does not begin with a CID.
    Cid,
    /// A block does not match the hash in its CID.
    Hash,
    /// The archive ends within a section, or before the first.
    Truncated,
}

/// An archive that is being read.
#[derive(Debug, Default)]
pub struct Archive {
    root: Option<Link>,
    /// The first part of a section that is still incomplete.
    pending: Vec<u8>,
    /// The bytes of the current skipped section that are still to come.
    passing: u64,
    /// Whether a section was skipped.
    passed: bool,
}

/// What is known of an archive at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The root block.
    pub root: Link,
    /// Whether a block over [`SECTION_MAX`] was skipped.
    pub passed_over: bool,
}

/// The next section in the buffer.
enum Section<'a> {
    /// A complete section, and its length in bytes.
    Whole(&'a [u8], usize),
    /// An incomplete section, and its full length if that is known.
    Part(Option<usize>),
    /// A section to skip: the length of its length, and the bytes that follow.
    Long(usize, u64),
}

impl Archive {
    /// Takes the next bytes, and passes each DAG-CBOR block that they complete to `each`, with the
    /// root of the archive and the CID of the block. Blocks of raw bytes are verified and not
    /// passed on; blocks with any other kind of CID are skipped. After an error the archive is
    /// unusable.
    pub fn take<E: From<BadArchive>>(
        &mut self,
        mut chunk: &[u8],
        mut each: impl FnMut(Link, Link, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !chunk.is_empty() {
            if self.passing > 0 {
                let skipped = chunk.len().min(usize::try_from(self.passing).unwrap_or(usize::MAX));
                self.passing -= skipped as u64;
                chunk = chunk.get(skipped..).unwrap_or_default();
                continue;
            }
            if self.pending.is_empty() {
                match self.section(chunk)? {
                    Section::Whole(section, used) => {
                        read(&mut self.root, section, &mut each)?;
                        chunk = chunk.get(used..).unwrap_or_default();
                        continue;
                    }
                    Section::Long(used, length) => {
                        (self.passing, self.passed) = (length, true);
                        chunk = chunk.get(used..).unwrap_or_default();
                        continue;
                    }
                    Section::Part(_) => {}
                }
            }
            // The rest of a partial length is taken byte by byte, the rest of a section at once.
            let missing = match self.section(&self.pending)? {
                Section::Part(Some(length)) => length.saturating_sub(self.pending.len()),
                _ => 1,
            };
            let (next, rest) = chunk.split_at(missing.min(chunk.len()));
            self.pending.extend_from_slice(next);
            chunk = rest;
            let pending = std::mem::take(&mut self.pending);
            match self.section(&pending)? {
                Section::Whole(section, _) => {
                    read(&mut self.root, section, &mut each)?;
                    // Keep the buffer's capacity: the next section is about as long.
                    self.pending = pending;
                    self.pending.clear();
                }
                // Only the length has arrived, all of it.
                Section::Long(_, length) => (self.passing, self.passed) = (length, true),
                Section::Part(_) => self.pending = pending,
            }
        }
        Ok(())
    }

    /// The number of bytes in the buffer.
    pub fn held(&self) -> usize {
        self.pending.capacity()
    }

    /// Ends the archive; an error if it is incomplete.
    pub fn finish(self) -> Result<Ended, BadArchive> {
        let root = self.root.filter(|_| self.pending.is_empty() && self.passing == 0);
        root.map(|root| Ended { root, passed_over: self.passed }).ok_or(BadArchive::Truncated)
    }

    fn section<'a>(&self, bytes: &'a [u8]) -> Result<Section<'a>, BadArchive> {
        let Some((length, prefix)) = varint(bytes)? else { return Ok(Section::Part(None)) };
        let short = usize::try_from(length).ok();
        let held = match self.root {
            None => Some(short.filter(|length| *length <= HEADER_MAX).ok_or(BadArchive::Header)?),
            Some(_) => short.filter(|length| *length <= SECTION_MAX),
        };
        let Some(held) = held else {
            let is_length = length <= LENGTH_MAX;
            return if is_length { Ok(Section::Long(prefix, length)) } else { Err(BadArchive::Length) };
        };
        let end = prefix + held;
        Ok(bytes.get(prefix..end).map_or(Section::Part(Some(end)), |section| Section::Whole(section, end)))
    }
}

/// Reads the header, or a block.
fn read<E: From<BadArchive>>(
    root: &mut Option<Link>,
    section: &[u8],
    each: &mut impl FnMut(Link, Link, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let Some(root) = *root else {
        *root = root_of(section);
        return root.map(|_| ()).ok_or_else(|| BadArchive::Header.into());
    };
    if section.is_empty() {
        return Ok(()); // some writers pad with zeros
    }
    let ours = section
        .split_first_chunk::<4>()
        .filter(|(codec, _)| [DAG_CBOR, RAW].contains(codec))
        .and_then(|(codec, rest)| Some((codec, rest.split_first_chunk::<32>()?)));
    let Some((codec, (hash, block))) = ours else {
        return if begins_with_cid(section) { Ok(()) } else { Err(BadArchive::Cid.into()) };
    };
    if Sha256::digest(block).as_slice() != hash {
        return Err(BadArchive::Hash.into());
    }
    if *codec == DAG_CBOR { each(root, Link::of_hash(*hash), block) } else { Ok(()) }
}

/// The first root in a header of version 1: the commit. The specification gives other roots no
/// meaning. Unknown fields are ignored, and fields may come in any order.
fn root_of(header: &[u8]) -> Option<Link> {
    /// The tag of a link (specification "DAG-CBOR").
    const LINK: u64 = 42;
    let mut reader = SliceReader::new(header);
    let (mut version, mut first) = (None, None);
    for _ in 0..types::Map::<()>::len(&mut reader).ok()?? {
        match <&str>::decode(&mut reader).ok()? {
            "version" if version.is_none() => version = Some(u64::decode(&mut reader).ok()?),
            "roots" if first.is_none() => {
                let mut roots = Vec::new();
                for _ in 0..types::Array::<()>::len(&mut reader).ok()?? {
                    let types::Tag(tag, types::Bytes(cid)) =
                        types::Tag::<types::Bytes<&[u8]>>::decode(&mut reader).ok()?;
                    // A zero byte precedes the CID.
                    roots.push(cid.strip_prefix(&[0]).filter(|_| tag == LINK)?);
                }
                first = Some(Link::try_from(Cid::try_from(*roots.first()?).ok()?).ok()?);
            }
            "version" | "roots" => return None, // duplicate
            _ => {
                IgnoredAny::decode(&mut reader).ok()?;
            }
        }
    }
    let is_all = reader.fill(1).ok()?.as_ref().is_empty();
    first.filter(|_| version == Some(1) && is_all)
}

/// Whether a section begins with a CID of any kind.
fn begins_with_cid(section: &[u8]) -> bool {
    if let Some((kind, rest)) = section.split_first_chunk::<2>()
        && *kind == [0x12, 0x20]
    {
        return rest.len() >= 32; // version 0: a bare SHA-256
    }
    let mut rest = section;
    let mut next = || {
        let (value, used) = varint(rest).ok()??;
        rest = rest.get(used..)?;
        Some(value)
    };
    let (Some(1), Some(_codec), Some(_hash), Some(length)) = (next(), next(), next(), next()) else {
        return false;
    };
    usize::try_from(length).is_ok_and(|length| length <= rest.len())
}

/// Reads an unsigned LEB128 in its shortest form, and returns it with its length in bytes. `None`
/// if more bytes are needed.
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, BadArchive> {
    let mut value = 0_u64;
    // Every allowed length fits into five groups.
    for (n, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            let is_shortest = n == 0 || *byte != 0;
            return if is_shortest { Ok(Some((value, n + 1))) } else { Err(BadArchive::Length) };
        }
    }
    if bytes.len() < 5 { Ok(None) } else { Err(BadArchive::Length) }
}
