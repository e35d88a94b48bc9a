//! Thrift's compact protocol, as far as it takes to look at a footer, a page header or numbers of
//! the same form before a library believes the lengths in it. Allocates nothing.

/// Structures nested deeper than this are refused.
const DEPTH_MAX: u8 = 32;
/// Groups of seven bits of the longest number.
const VARINT_BYTES_MAX: u32 = 10;

/// Why bytes are not what they should be.
pub(super) type Bad = &'static str;

const CUT: Bad = "it is cut off";
const OTHER: Bad = "a field is of another type than it must be";

/// The types a field or an element of a list may have that this needs to know.
pub(super) mod kind {
    pub(crate) const TRUE: u8 = 1;
    pub(crate) const FALSE: u8 = 2;
    pub(crate) const BYTE: u8 = 3;
    pub(crate) const I16: u8 = 4;
    pub(crate) const I32: u8 = 5;
    pub(crate) const I64: u8 = 6;
    pub(crate) const DOUBLE: u8 = 7;
    pub(crate) const BINARY: u8 = 8;
    pub(crate) const LIST: u8 = 9;
    pub(crate) const SET: u8 = 10;
    pub(crate) const MAP: u8 = 11;
    pub(crate) const STRUCT: u8 = 12;
    pub(crate) const UUID: u8 = 13;
}

/// What a value of a structure must be. The library reads a field it knows by its number alone,
/// whatever type it is said to have: a field of another type would make it read other bytes than
/// are looked at here.
#[derive(Debug)]
pub(super) enum Form {
    Flag,
    Byte,
    Int,
    Long,
    Binary,
    Struct(&'static [(i16, Form)]),
}

/// A position in encoded bytes.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Compact<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn byte(&mut self) -> Result<u8, Bad> {
        let byte = *self.bytes.get(self.at).ok_or(CUT)?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn jump(&mut self, count: u64) -> Result<(), Bad> {
        self.take(count).map(drop)
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Bad> {
        if count > self.remaining() as u64 {
            return Err(CUT);
        }
        let taken = &self.bytes[self.at..self.at + count as usize];
        self.at += count as usize;
        Ok(taken)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Bad> {
        let mut value = 0;
        for group in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits")
    }

    pub(super) fn number(&mut self) -> Result<i64, Bad> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The value of a field of 32 bits that is said to be of type `kind`.
    pub(super) fn int(&mut self, kind: u8) -> Result<i64, Bad> {
        if kind != kind::I32 {
            return Err(OTHER);
        }
        let number = self.number()?;
        i32::try_from(number)
            .map(i64::from)
            .map_err(|_| "a number is longer than 32 bits")
    }

    /// Walks over a value of this form that is said to be of type `kind`.
    pub(super) fn value(&mut self, kind: u8, form: &Form) -> Result<(), Bad> {
        match (form, kind) {
            (Form::Int, _) => self.int(kind).map(drop),
            (Form::Flag, kind::TRUE | kind::FALSE)
            | (Form::Byte, kind::BYTE)
            | (Form::Long, kind::I64)
            | (Form::Binary, kind::BINARY) => self.skip(kind),
            (Form::Struct(known), kind::STRUCT) => self.fields(|compact, id, kind| {
                match known.iter().find(|(known, _)| *known == id) {
                    Some((_, form)) => compact.value(kind, form),
                    None => compact.skip(kind),
                }
            }),
            _ => Err(OTHER),
        }
    }

    /// Calls `field` with the id and type of every field of the structure that begins here; it
    /// reads the value, or skips it.
    pub(super) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, u8) -> Result<(), Bad>,
    ) -> Result<(), Bad> {
        let mut last = 0i16;
        loop {
            let head = self.byte()?;
            let (step, kind) = (head >> 4, head & 0xf);
            if kind == 0 {
                return Ok(());
            }
            last = match step {
                0 => i16::try_from(self.number()?).map_err(|_| "a field's id is too large")?,
                step => last
                    .checked_add(i16::from(step))
                    .ok_or("a field's id is too large")?,
            };
            field(self, last, kind)?;
        }
    }

    /// The head of a list: the type of its elements, and how many there are. Each takes at least
    /// one byte.
    pub(super) fn list(&mut self) -> Result<(u8, u64), Bad> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        if count > self.remaining() as u64 {
            return Err("a list announces more elements than there are bytes");
        }
        Ok((head & 0xf, count))
    }

    pub(super) fn skip(&mut self, kind: u8) -> Result<(), Bad> {
        self.skip_value(kind, 0)
    }

    fn skip_value(&mut self, kind: u8, depth: u8) -> Result<(), Bad> {
        if depth > DEPTH_MAX {
            return Err("its structures nest too deep");
        }
        match kind {
            // Not a byte in a list either: that is how the library skips them.
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.jump(1),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.jump(8),
            kind::UUID => self.jump(16),
            kind::BINARY => {
                let length = self.varint()?;
                self.jump(length)
            }
            kind::LIST | kind::SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_value(kind, depth + 1))
            }
            kind::MAP => self.skip_map(depth),
            kind::STRUCT => self.fields(|compact, _, kind| compact.skip_value(kind, depth + 1)),
            _ => Err("a field has a type that does not exist"),
        }
    }

    fn skip_map(&mut self, depth: u8) -> Result<(), Bad> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        if count > self.remaining() as u64 {
            return Err("a map announces more entries than there are bytes");
        }
        (0..count).try_for_each(|_| {
            self.skip_value(kinds >> 4, depth + 1)?;
            self.skip_value(kinds & 0xf, depth + 1)
        })
    }
}
