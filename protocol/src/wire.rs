//! One value on the wire: `nom` reads it, `bytes` writes it, record bytes are never copied.
//!
//! Numbers are big-endian. Text, bytes and arrays are a length and a [`Body`]; the length is an `i16` or
//! `i32` in classic versions and an unsigned varint of `n + 1` in flexible ones (KIP-482), with -1 or 0 for
//! null. Whatever arrives is hostile until read: a length beyond what is left, text beyond [`MAX_TEXT`], an
//! array beyond [`MAX_ELEMENTS`], a tagged section beyond [`MAX_TAGS`], a null where none is allowed and a
//! message beyond its [`Budget`] are refused before anything is allocated for them. Bytes that are not UTF-8
//! are replaced by U+FFFD, as in Kafka.

use std::fmt;

use bytes::{BufMut, Bytes};
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete as num;

use crate::budget::Budget;
use crate::writer::Writer;

/// More elements than this in one array are refused, as Kafka 4.4 does.
pub const MAX_ELEMENTS: usize = 1_000_000;

/// Longer text is refused, in bytes, also where the length could be larger, as in Kafka.
pub const MAX_TEXT: usize = i16::MAX as usize;

/// More tagged fields than this in one struct are refused, as Kafka 4.4 does.
pub const MAX_TAGS: u32 = 10_000;

/// What every value needs to know to read or write itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The version of the API or of the stored record.
    pub number: i16,
    /// Compact lengths and tagged fields (KIP-482)?
    pub flexible: bool,
    /// May the value at hand be null? Set for every field.
    pub null: bool,
}

impl Version {
    /// A version of a whole message.
    pub const fn new(number: i16, flexible: bool) -> Version {
        Version { number, flexible, null: true }
    }
}

/// Decoding context: the version, and the frame that `Bytes` fields become slices of.
///
/// The input given to [`Wire::decode`] must be a part of `frame`; [`Wire::from_bytes`] sees to it.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    /// All the bytes of the message.
    pub frame: &'a Bytes,
    /// How to read them.
    pub v: Version,
    /// The memory that the whole message may take.
    pub budget: &'a Budget,
}

/// Bytes that are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The innermost field that could not be read, as `Struct.field`; empty when it is outside of any.
    pub field: &'static str,
    /// How many bytes were left at that point.
    pub left: usize,
    /// What is wrong there.
    pub why: Why,
}

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They are not what they should be.
    Invalid,
    /// The message would take more memory than its [`Budget`].
    Excessive,
}

impl Malformed {
    /// Bytes that are not what they should be, outside of any field; this many were left.
    pub const fn invalid(left: usize) -> Malformed {
        Malformed { field: "", left, why: Why::Invalid }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "message" } else { self.field };
        match self.why {
            Why::Invalid => write!(f, "malformed {field}, {} bytes before the end", self.left),
            Why::Excessive => {
                let (times, max) = (Budget::TIMES, Budget::MAX);
                write!(
                    f,
                    "{field} takes too much memory: {times} times the size of the message and 1 MiB, "
                )?;
                write!(f, "at most {max} bytes, are allowed; send several smaller requests")
            }
        }
    }
}

impl std::error::Error for Malformed {}

impl<'a> ParseError<&'a [u8]> for Malformed {
    fn from_error_kind(i: &'a [u8], _: ErrorKind) -> Self {
        Malformed::invalid(i.len())
    }

    fn append(_: &'a [u8], _: ErrorKind, inner: Self) -> Self {
        inner
    }
}

/// What a parser gives back: the bytes it left, and the value.
pub type Parsed<'a, T> = nom::IResult<&'a [u8], T, Malformed>;

/// Refuse the input at this point.
pub fn malformed<T>(i: &[u8]) -> Parsed<'_, T> {
    Err(nom::Err::Error(Malformed::invalid(i.len())))
}

/// A value that can be read from and written to the wire.
pub trait Wire: Sized {
    /// Read one value from the front of `i`, which is a part of `cx.frame`.
    fn decode<'a>(cx: Cx<'a>, i: &'a [u8]) -> Parsed<'a, Self>;

    /// Write the value in this version. A field that the version lacks is left out.
    fn encode(&self, v: Version, out: &mut Writer);

    /// Read a value that fills `bytes`; what follows it is refused too.
    fn from_bytes(bytes: &Bytes, v: Version) -> Result<Self, Malformed> {
        match Self::prefix_of(bytes, v)? {
            (value, 0) => Ok(value),
            (_, left) => Err(Malformed::invalid(left)),
        }
    }

    /// Read a value from the front of `bytes`; also says how many bytes are left behind it.
    fn prefix_of(bytes: &Bytes, v: Version) -> Result<(Self, usize), Malformed> {
        Self::prefix_within(bytes, v, &Budget::of(bytes.len()))
    }

    /// The same within a budget that the caller can look at afterwards.
    fn prefix_within(bytes: &Bytes, v: Version, budget: &Budget) -> Result<(Self, usize), Malformed> {
        match Self::decode(Cx { frame: bytes, v, budget }, bytes) {
            Ok((rest, value)) => Ok((value, rest.len())),
            Err(nom::Err::Error(e) | nom::Err::Failure(e)) => Err(e),
            Err(nom::Err::Incomplete(_)) => Err(Malformed::invalid(0)),
        }
    }

    /// The value alone, in one piece.
    fn to_bytes(&self, v: Version) -> Bytes {
        let mut out = Writer::default();
        self.encode(v, &mut out);
        out.into_bytes()
    }
}

/// An unsigned varint of at most 32 bits; more than five bytes are refused.
pub fn uvarint(mut i: &[u8]) -> Parsed<'_, u32> {
    let mut n = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let (rest, byte) = num::u8(i)?;
        if shift == 28 && byte > 0x0f {
            break;
        }
        n |= u32::from(byte & 0x7f) << shift;
        i = rest;
        if byte < 0x80 {
            return Ok((i, n));
        }
    }
    malformed(i)
}

/// The length before a [`Body`]; `None` is null. Nothing is longer than what is left.
fn size(v: Version, short: bool, i: &[u8]) -> Parsed<'_, Option<usize>> {
    let (i, n) = match (v.flexible, short) {
        (true, _) => uvarint(i).map(|(i, n)| (i, i64::from(n) - 1))?,
        (false, true) => num::be_i16(i).map(|(i, n): (_, i16)| (i, i64::from(n)))?,
        (false, false) => num::be_i32(i).map(|(i, n): (_, i32)| (i, i64::from(n)))?,
    };
    match usize::try_from(n) {
        Ok(n) if n <= i.len() => Ok((i, Some(n))),
        Err(_) if n == -1 => Ok((i, None)),
        _ => malformed(i),
    }
}

/// The tagged fields of one struct, to be started in ascending order.
#[derive(Debug, Default)]
pub struct Tags(Vec<(u32, Writer)>);

impl Tags {
    /// One more tagged field.
    pub fn push(&mut self, tag: u32, v: Version, value: &impl Wire) {
        let mut body = Writer::default();
        value.encode(v, &mut body);
        self.0.push((tag, body));
    }

    /// Write the section that ends every flexible struct.
    pub fn write(self, out: &mut Writer) {
        out.uvarint(self.0.len() as u32);
        for (tag, body) in self.0 {
            out.uvarint(tag);
            out.uvarint(u32::try_from(body.len()).unwrap_or(u32::MAX));
            out.append(body);
        }
    }
}

/// Read a tagged section, and hand each tag and its bytes to `field`, which skips what it does not know.
pub fn read_tags<'a>(
    i: &'a [u8],
    mut field: impl FnMut(u32, &'a [u8]) -> Result<(), nom::Err<Malformed>>,
) -> Parsed<'a, ()> {
    let (mut i, n) = uvarint(i)?;
    if n > MAX_TAGS {
        return malformed(i);
    }
    for _ in 0..n {
        let (rest, tag) = uvarint(i)?;
        let (rest, size) = uvarint(rest)?;
        let (rest, body) = take(size)(rest)?;
        field(tag, body)?;
        i = rest;
    }
    Ok((i, ()))
}

macro_rules! numbers {
    ($($Type:ty: $get:ident $put:ident,)*) => { $(
        impl Wire for $Type {
            fn decode<'a>(_: Cx<'a>, i: &'a [u8]) -> Parsed<'a, Self> {
                num::$get(i)
            }

            fn encode(&self, _: Version, out: &mut Writer) {
                out.buf.$put(*self)
            }
        }
    )* };
}

numbers! {
    i8: i8 put_i8,
    i16: be_i16 put_i16,
    i32: be_i32 put_i32,
    i64: be_i64 put_i64,
    u16: be_u16 put_u16,
}

impl Wire for bool {
    fn decode<'a>(_: Cx<'a>, i: &'a [u8]) -> Parsed<'a, Self> {
        num::u8(i).map(|(i, byte)| (i, byte != 0))
    }

    fn encode(&self, _: Version, out: &mut Writer) {
        out.buf.put_u8(u8::from(*self));
    }
}

/// What follows a length: text, bytes or elements. The plain and the nullable form come for free.
pub trait Body: Sized + Default {
    /// Has the classic form an `i16` length (text), or an `i32` (all else)?
    const SHORT: bool = false;

    /// The length to announce, in bytes or elements.
    fn count(&self, v: Version) -> usize;

    /// Read `n` bytes or elements. There are at least `n` bytes left.
    fn read<'a>(cx: Cx<'a>, n: usize, i: &'a [u8]) -> Parsed<'a, Self>;

    /// Write the `n` bytes or elements that were announced.
    fn write(&self, v: Version, n: usize, out: &mut Writer);
}

/// Written text ends at [`MAX_TEXT`], truncated at a character. An error message that quotes a name can be
/// longer, and so is text in which bytes that are not UTF-8 were replaced: its reader, a client or the broker
/// itself after a restart, would refuse the whole message.
impl Body for String {
    const SHORT: bool = true;

    fn count(&self, _: Version) -> usize {
        self.floor_char_boundary(MAX_TEXT)
    }

    fn read<'a>(cx: Cx<'a>, n: usize, i: &'a [u8]) -> Parsed<'a, Self> {
        if n > MAX_TEXT {
            return malformed(i);
        }
        let (rest, bytes): (_, &[u8]) = take(n)(i)?;
        let text = String::from_utf8_lossy(bytes);
        cx.budget.take(text.len(), rest.len())?;
        Ok((rest, text.into_owned()))
    }

    fn write(&self, _: Version, n: usize, out: &mut Writer) {
        out.put(self.as_bytes().get(..n).unwrap_or_default());
    }
}

/// A slice of the frame: a small one that is kept for long should be copied, or it keeps the whole frame in
/// memory.
impl Body for Bytes {
    fn count(&self, _: Version) -> usize {
        self.len()
    }

    fn read<'a>(cx: Cx<'a>, n: usize, i: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, bytes): (_, &[u8]) = take(n)(i)?;
        Ok((rest, cx.frame.slice_ref(bytes)))
    }

    fn write(&self, _: Version, _: usize, out: &mut Writer) {
        out.share(self);
    }
}

/// Every element takes a byte or more, so an array is never longer than what is left; its memory grows with
/// what was really read, and ends at the announced length.
impl<T: Wire> Body for Vec<T> {
    fn count(&self, _: Version) -> usize {
        self.len()
    }

    fn read<'a>(cx: Cx<'a>, n: usize, mut i: &'a [u8]) -> Parsed<'a, Self> {
        if n > MAX_ELEMENTS {
            return malformed(i);
        }
        let ahead = 4096 / size_of::<T>().max(1);
        let mut elements: Vec<T> = Vec::new();
        for read in 0..n {
            if read == elements.capacity() {
                let more = (n - read).min(read.max(ahead).max(1));
                cx.budget.take_elements::<T>(more, i.len())?;
                elements.reserve_exact(more);
            }
            let (rest, element) = T::decode(cx, i)?;
            elements.push(element);
            i = rest;
        }
        Ok((i, elements))
    }

    fn write(&self, v: Version, _: usize, out: &mut Writer) {
        self.iter().for_each(|element| element.encode(v, out));
    }
}

impl<B: Body> Wire for Option<B> {
    fn decode<'a>(cx: Cx<'a>, i: &'a [u8]) -> Parsed<'a, Self> {
        match size(cx.v, B::SHORT, i)? {
            (i, Some(n)) => B::read(cx, n, i).map(|(i, body)| (i, Some(body))),
            (i, None) if cx.v.null => Ok((i, None)),
            (i, None) => malformed(i),
        }
    }

    /// Where the version knows no null, an empty value is written for it.
    fn encode(&self, v: Version, out: &mut Writer) {
        match self {
            Some(body) => body.encode(v, out),
            None => out.size(v, B::SHORT, if v.null { None } else { Some(0) }),
        }
    }
}

impl<B: Body> Wire for B {
    fn decode<'a>(cx: Cx<'a>, i: &'a [u8]) -> Parsed<'a, Self> {
        match size(cx.v, B::SHORT, i)? {
            (i, Some(n)) => B::read(cx, n, i),
            (i, None) => malformed(i),
        }
    }

    fn encode(&self, v: Version, out: &mut Writer) {
        let n = self.count(v);
        out.size(v, B::SHORT, Some(n));
        self.write(v, n, out);
    }
}
