//! Archives of blocks (CAR version 1), the form in which a host sends a repository: a header that
//! names the block to begin with, then blocks in any order, each behind its length and its CID.
//!
//! Promises: reads from chunks cut anywhere, and holds at most one block of them; hands on no
//! block whose bytes do not have the hash that its CID says; takes nothing longer than
//! [`SECTION_MAX`] into memory. Which blocks belong to the repository is not known here.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::dag_cbor::Link;

/// The longest section read, in bytes: a CID and its block. The network allows records of 1 MiB
/// (atproto.com/specs/record-key and limits of relays: blocks of 2 MiB at most).
pub const SECTION_MAX: usize = 2 * 1024 * 1024;
/// The longest header read, in bytes. One with one root has 59.
const HEADER_MAX: usize = 4096;
/// How a CID begins that has a SHA-256: version 1, the codec, the hash, its length.
const DAG_CBOR: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
const RAW: [u8; 4] = [0x01, 0x55, 0x12, 0x20];

/// Why an archive is none, or cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadArchive {
    /// Not a CAR of version 1 with one root.
    Header,
    /// A length that is no number.
    Length,
    /// A section over [`SECTION_MAX`].
    TooLong,
    /// A CID other than version 1, SHA-256 of DAG-CBOR or of raw bytes.
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u64,
    roots: [Link; 1],
}

/// A section in the bytes at hand.
enum Section<'a> {
    /// All of it, and how many bytes it took.
    Whole(&'a [u8], usize),
    /// A part of it; how long all of it is, if that is known.
    Part(Option<usize>),
}

impl Archive {
    /// Takes the next bytes, and hands each DAG-CBOR block that they complete to `each`, with the
    /// root of the archive and the block's own name. Blocks of raw bytes are checked and passed
    /// over. After an error nothing more can be read.
    pub fn take<E: From<BadArchive>>(
        &mut self,
        mut chunk: &[u8],
        mut each: impl FnMut(Link, Link, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !chunk.is_empty() {
            if self.pending.is_empty()
                && let Section::Whole(section, used) = self.section(chunk)?
            {
                read(&mut self.root, section, &mut each)?;
                chunk = chunk.get(used..).unwrap_or_default();
                continue;
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
            if let Section::Whole(section, _) = self.section(&pending)? {
                read(&mut self.root, section, &mut each)?;
                // The room is kept: the next section is about as long.
                self.pending = pending;
                self.pending.clear();
            } else {
                self.pending = pending;
            }
        }
        Ok(())
    }

    /// The end: whether everything came, and the root.
    pub fn finish(self) -> Result<Link, BadArchive> {
        self.root.filter(|_| self.pending.is_empty()).ok_or(BadArchive::Truncated)
    }

    fn section<'a>(&self, bytes: &'a [u8]) -> Result<Section<'a>, BadArchive> {
        let Some((length, prefix)) = varint(bytes)? else { return Ok(Section::Part(None)) };
        let (max, error) = match self.root {
            None => (HEADER_MAX, BadArchive::Header),
            Some(_) => (SECTION_MAX, BadArchive::TooLong),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= max);
        let end = prefix + length.ok_or(error)?;
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
        let header: Header = serde_ipld_dagcbor::from_slice(section).map_err(|_| BadArchive::Header)?;
        let [first] = header.roots;
        *root = Some(first).filter(|_| header.version == 1);
        return root.map(|_| ()).ok_or_else(|| BadArchive::Header.into());
    };
    let (codec, rest) = section.split_first_chunk::<4>().ok_or(BadArchive::Cid)?;
    let (hash, block) = rest.split_first_chunk::<32>().ok_or(BadArchive::Cid)?;
    if ![DAG_CBOR, RAW].contains(codec) {
        return Err(BadArchive::Cid.into());
    }
    if Sha256::digest(block).as_slice() != hash {
        return Err(BadArchive::Hash.into());
    }
    if *codec == DAG_CBOR { each(root, Link::of_hash(*hash), block) } else { Ok(()) }
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
