//! Packets of the SSH File Transfer Protocol, version 3.
//!
//! Source: draft-ietf-secsh-filexfer-02, and OpenSSH's `PROTOCOL` for the extensions.

use crate::model::sync::Stamp;

/// Kinds of packets.
pub(super) mod kind {
    pub(in crate::remote) const INIT: u8 = 1;
    pub(in crate::remote) const VERSION: u8 = 2;
    pub(in crate::remote) const OPEN: u8 = 3;
    pub(in crate::remote) const CLOSE: u8 = 4;
    pub(in crate::remote) const READ: u8 = 5;
    pub(in crate::remote) const WRITE: u8 = 6;
    pub(in crate::remote) const LSTAT: u8 = 7;
    pub(in crate::remote) const FSTAT: u8 = 8;
    pub(in crate::remote) const SETSTAT: u8 = 9;
    pub(in crate::remote) const OPENDIR: u8 = 11;
    pub(in crate::remote) const READDIR: u8 = 12;
    pub(in crate::remote) const REMOVE: u8 = 13;
    pub(in crate::remote) const MKDIR: u8 = 14;
    pub(in crate::remote) const RMDIR: u8 = 15;
    pub(in crate::remote) const REALPATH: u8 = 16;
    pub(in crate::remote) const RENAME: u8 = 18;
    pub(in crate::remote) const STATUS: u8 = 101;
    pub(in crate::remote) const HANDLE: u8 = 102;
    pub(in crate::remote) const DATA: u8 = 103;
    pub(in crate::remote) const NAME: u8 = 104;
    pub(in crate::remote) const ATTRIBUTES: u8 = 105;
    pub(in crate::remote) const EXTENDED: u8 = 200;
    pub(in crate::remote) const EXTENDED_REPLY: u8 = 201;
}

const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_PERMISSIONS: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_EXTENSIONS: u32 = 0x8000_0000;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, a socket, or what the server does not say.
    Other,
}

/// What the server says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) kind: FileKind,
    pub(super) stamp: Stamp,
}

/// A packet that is being written.
#[derive(Debug)]
pub(super) struct Packet(Vec<u8>);

impl Packet {
    pub(super) fn new(kind: u8, id: u32) -> Self {
        let mut bytes = vec![0, 0, 0, 0, kind];
        bytes.extend(id.to_be_bytes());
        Self(bytes)
    }

    pub(super) fn number(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn text(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend(length.to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends attributes that set nothing.
    pub(super) fn no_attributes(self) -> Self {
        self.number(0)
    }

    /// Appends attributes that set the permissions.
    pub(super) fn permissions(self, mode: u32) -> Self {
        self.number(HAS_PERMISSIONS).number(mode)
    }

    /// Appends attributes that set the time of the last change, and of the last access with it.
    pub(super) fn times(self, seconds: u32) -> Self {
        self.number(HAS_TIMES).number(seconds).number(seconds)
    }

    /// Returns the bytes with their length in front.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len().saturating_sub(4)).unwrap_or(u32::MAX);
        for (place, byte) in self.0.iter_mut().zip(length.to_be_bytes()) {
            *place = byte;
        }
        self.0
    }
}

/// The bytes of a packet that is being read; `None` from any method: they end too early.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub(super) fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.number()?;
        let size = if flags & HAS_SIZE == 0 { 0 } else { self.long()? };
        if flags & HAS_OWNER != 0 {
            self.long()?;
        }
        let mode = if flags & HAS_PERMISSIONS == 0 { 0 } else { self.number()? };
        let mut seconds = 0;
        if flags & HAS_TIMES != 0 {
            self.number()?;
            seconds = i64::from(self.number()?);
        }
        if flags & HAS_EXTENSIONS != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        let kind = match mode & 0o170_000 {
            0o100_000 if flags & HAS_SIZE != 0 => FileKind::File,
            0o040_000 => FileKind::Folder,
            _ => FileKind::Other,
        };
        Some(Attributes { kind, stamp: Stamp { size, seconds, nanoseconds: 0 } })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_says_how_long_it_is_and_is_read_as_it_was_written() {
        let bytes = Packet::new(kind::WRITE, 7).text(b"h\0").long(1 << 40).times(9).finish();
        assert_eq!(bytes.get(..5), Some([0, 0, 0, 31, kind::WRITE].as_slice()));
        let mut fields = Fields(&bytes[5..]);
        assert_eq!((fields.number(), fields.text()), (Some(7), Some(b"h\0".as_slice())));
        assert_eq!((fields.long(), fields.0.len()), (Some(1 << 40), 12));
    }

    #[test]
    fn attributes_have_only_what_their_flags_say() {
        let written = Packet::new(0, 0)
            .number(HAS_SIZE | HAS_OWNER | HAS_PERMISSIONS | HAS_TIMES | HAS_EXTENSIONS)
            .long(12)
            .long(0)
            .number(0o100_644)
            .number(1)
            .number(2)
            .number(1)
            .text(b"a")
            .text(b"b")
            .text(b"end")
            .finish();
        let mut fields = Fields(&written[9..]);
        let stamp = Stamp { size: 12, seconds: 2, nanoseconds: 0 };
        assert_eq!(fields.attributes(), Some(Attributes { kind: FileKind::File, stamp }));
        assert_eq!(fields.text(), Some(b"end".as_slice()));
        assert_eq!(Fields(&[0, 0, 0, 0]).attributes().unwrap().kind, FileKind::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_end_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut fields = Fields(&bytes);
            while fields.attributes().is_some() && !fields.0.is_empty() {}
            while fields.text().is_some() && !fields.0.is_empty() {}
        }
    }
}
