//! Archives of blocks (CAR version 1), the form in which a host sends a repository: a header that
//! names the block to begin with, then blocks in any order, each behind its length and its CID.
//!
//! Promises: reads from chunks cut anywhere, and holds at most one block of them; hands on no
//! block whose bytes do not have the hash that its CID says; takes nothing longer than
//! [`SECTION_MAX`] into memory. Which blocks belong to the repository is not known here, so
//! whatever cannot belong to one is passed over: a reader must expect blocks that nothing links to,
//! of any kind, more roots than one, and blocks that come twice (specification "Repository").

use cbor4ii::core::dec::{Decode as _, IgnoredAny, Read as _};
use cbor4ii::core::types;
use cbor4ii::core::utils::SliceReader;
use ipld_core::cid::Cid;
use sha2::{Digest, Sha256};

use super::dag_cbor::Link;

/// The longest section that is held, in bytes: a CID and its block. The network allows records of
/// 1 MiB (atproto.com/specs/record-key and limits of relays: blocks of 2 MiB at most). What is
/// longer is passed over without being held: it can be no part of a repository that counts.
pub const SECTION_MAX: usize = 2 * 1024 * 1024;
/// The longest section at all: a length beyond this is no length.
const LENGTH_MAX: u64 = 256 * 1024 * 1024;
/// The longest header read, in bytes. One with one root has 59.
const HEADER_MAX: usize = 64 * 1024;
/// How a CID begins that has a SHA-256: version 1, the codec, the hash, its length.
const DAG_CBOR: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
const RAW: [u8; 4] = [0x01, 0x55, 0x12, 0x20];

/// Why an archive is none, or cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadArchive {
    /// Not a CAR of version 1 with a root that may be a commit.
    Header,
    /// A length that is no number, or longer than any archive that is read.
    Length,
    /// A section does not begin with a CID.
    Cid,
    /// A block that does not have the hash of its CID.
    Hash,
    /// It ends within a section, or before the first.
    Truncated,
}

/// An archive that is being read.
#[derive(Debug, Default)]
pub struct Archive {
    root: Option<Link>,
    /// The beginning of a section whose rest has not come.
    pending: Vec<u8>,
    /// How much of a section that is passed over has not come.
    passing: u64,
    /// Whether one was.
    passed: bool,
}

/// What an archive was, at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The block to begin with.
    pub root: Link,
    /// Whether a block over [`SECTION_MAX`] was passed over.
    pub passed_over: bool,
}

/// A section in the bytes at hand.
enum Section<'a> {
    /// All of it, and how many bytes it took.
    Whole(&'a [u8], usize),
    /// A part of it; how long all of it is, if that is known.
    Part(Option<usize>),
    /// One that is passed over: how many bytes its length took, and how many follow.
    Long(usize, u64),
}

impl Archive {
    /// Takes the next bytes, and hands each DAG-CBOR block that they complete to `each`, with the
    /// root of the archive and the block's own name. Blocks of raw bytes are checked and passed
    /// over; those with another kind of CID are passed over. After an error nothing more can be read.
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
            // A part: what is missing of its length is taken byte by byte, the rest at once.
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
                    // The room is kept: the next section is about as long.
                    self.pending = pending;
                    self.pending.clear();
                }
                // All of its length came, and nothing else.
                Section::Long(_, length) => (self.passing, self.passed) = (length, true),
                Section::Part(_) => self.pending = pending,
            }
        }
        Ok(())
    }

    /// Bytes that are held of what came.
    pub fn held(&self) -> usize {
        self.pending.capacity()
    }

    /// The end: whether everything came.
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
        return Ok(()); // some writers fill up with zeros
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

/// The first root in a header of version 1: the commit. What others mean, nobody says. Fields of other
/// names are none of a reader's business, and they may stand in any order.
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
                    // A zero stands in front of the CID.
                    roots.push(cid.strip_prefix(&[0]).filter(|_| tag == LINK)?);
                }
                first = Some(Link::try_from(Cid::try_from(*roots.first()?).ok()?).ok()?);
            }
            "version" | "roots" => return None, // twice
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

/// An unsigned LEB128 in its shortest form, and how many bytes it has. `None` if more must come.
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, BadArchive> {
    let mut value = 0_u64;
    // Five groups are more than any length that is allowed.
    for (n, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            let is_shortest = n == 0 || *byte != 0;
            return if is_shortest { Ok(Some((value, n + 1))) } else { Err(BadArchive::Length) };
        }
    }
    if bytes.len() < 5 { Ok(None) } else { Err(BadArchive::Length) }
}
