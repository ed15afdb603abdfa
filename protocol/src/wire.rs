//! One value on the wire: `nom` reads it, `bytes` writes it, record bytes are never copied.
//!
//! Numbers are big-endian. Text, bytes and arrays are a length and a [`Body`]; the length is an `i16` or
//! `i32` in classic versions and an unsigned varint of `n + 1` in flexible ones (KIP-482), with -1 or 0 for
//! null. Whatever arrives is hostile until read: a length beyond what is left, an array beyond
//! [`MAX_ELEMENTS`], a tagged section beyond [`MAX_TAGS`], a null where none is allowed and text that is not
//! UTF-8 are refused before anything is allocated for them.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete as num;

use crate::error::ErrorCode;

/// More elements than this in one array are refused, as Kafka 4.4 does.
pub const MAX_ELEMENTS: usize = 1_000_000;

/// More tagged fields than this in one struct are refused, as Kafka 4.4 does.
pub const MAX_TAGS: u32 = 10_000;

/// What every value needs to know to read or write itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The version of the API or of the stored record.
    pub number: i16,
    /// Compact lengths and tagged fields (KIP-482)?
    pub flexible: bool,
    /// May the value at hand be null? Set anew for every field.
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
}

/// Bytes that are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The innermost field that could not be read, as `Struct.field`; empty when it is outside of any.
    pub field: &'static str,
    /// How many bytes were left at that point.
    pub left: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "message" } else { self.field };
        write!(f, "malformed {field}, {} bytes before the end", self.left)
    }
}

impl std::error::Error for Malformed {}

impl<'a> ParseError<&'a [u8]> for Malformed {
    fn from_error_kind(i: &'a [u8], _: ErrorKind) -> Self {
        Malformed { field: "", left: i.len() }
    }

    fn append(_: &'a [u8], _: ErrorKind, inner: Self) -> Self {
        inner
    }
}

/// What a parser gives back: the bytes it left, and the value.
pub type Parsed<'a, T> = nom::IResult<&'a [u8], T, Malformed>;

/// Refuse the input at this point.
pub fn malformed<T>(i: &[u8]) -> Parsed<'_, T> {
    Err(nom::Err::Error(Malformed { field: "", left: i.len() }))
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
            (_, left) => Err(Malformed { field: "", left }),
        }
    }

    /// Read a value from the front of `bytes`; also says how many bytes are left behind it.
    fn prefix_of(bytes: &Bytes, v: Version) -> Result<(Self, usize), Malformed> {
        match Self::decode(Cx { frame: bytes, v }, bytes) {
            Ok((rest, value)) => Ok((value, rest.len())),
            Err(nom::Err::Error(e) | nom::Err::Failure(e)) => Err(e),
            Err(nom::Err::Incomplete(_)) => Err(Malformed { field: "", left: 0 }),
        }
    }

    /// The value alone, in one piece.
    fn to_bytes(&self, v: Version) -> Bytes {
        let mut out = Writer::default();
        self.encode(v, &mut out);
        out.into_bytes()
    }
}

/// Output as a list of chunks, so that large `Bytes` are handed on and never copied.
#[derive(Debug, Default)]
pub struct Writer {
    buf: BytesMut,
    done: Vec<Bytes>,
    error: Option<ErrorCode>,
}

impl Writer {
    /// From this size on, bytes are shared: a chunk of its own costs less than the copy.
    const SHARED_FROM: usize = 512;

    /// An empty one, with room for so many bytes that are not shared: growing costs more than writing them.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { buf: BytesMut::with_capacity(bytes), ..Writer::default() }
    }

    /// Copy a few bytes in.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    /// Replace the first bytes: those that were put before all else.
    pub fn overwrite<const N: usize>(&mut self, bytes: [u8; N]) {
        match self.done.first_mut() {
            None => self.buf.iter_mut().zip(bytes).for_each(|(at, byte)| *at = byte),
            Some(first) => {
                first.advance(N);
                self.done.insert(0, Bytes::copy_from_slice(&bytes));
            }
        }
    }

    /// Hand `bytes` on, as a chunk of its own unless it is small.
    pub fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < Self::SHARED_FROM {
            return self.put(bytes);
        }
        self.cut();
        self.done.push(bytes.clone());
    }

    /// Everything that `other` holds comes next.
    pub fn append(&mut self, mut other: Writer) {
        if !other.done.is_empty() {
            self.cut();
            self.done.append(&mut other.done);
        }
        self.error = self.error.or(other.error);
        self.buf.unsplit(other.buf);
    }

    /// Remember the first error code that is one: what a whole response is counted under.
    pub fn note(&mut self, code: ErrorCode) {
        self.error = self.error.or((!code.is_ok()).then_some(code));
    }

    /// The first error code that was written and is one.
    pub fn error(&self) -> Option<ErrorCode> {
        self.error
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.buf.len() + self.done.iter().map(Bytes::len).sum::<usize>()
    }

    /// Was nothing written yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks, in order, none of them empty: ready for a vectored write.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.cut();
        self.done
    }

    /// All in one piece: free of copies only when nothing was shared.
    pub fn into_bytes(self) -> Bytes {
        if self.done.is_empty() { self.buf.freeze() } else { self.finish().concat().into() }
    }

    /// An unsigned varint: seven bits at a time, the lowest first.
    pub fn uvarint(&mut self, mut n: u32) {
        while n >= 0x80 {
            self.buf.put_u8((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        self.buf.put_u8(n as u8);
    }

    fn cut(&mut self) {
        if !self.buf.is_empty() {
            self.done.push(self.buf.split().freeze());
        }
    }

    /// The length before a [`Body`]; `None` is null. Lengths beyond the type only occur in frames beyond 2
    /// GiB, which [`crate::frame`] refuses to send.
    fn size(&mut self, v: Version, short: bool, n: Option<usize>) {
        match (v.flexible, short) {
            (true, _) => self.uvarint(n.map_or(0, |n| u32::try_from(n + 1).unwrap_or(u32::MAX))),
            (false, true) => self.buf.put_i16(n.map_or(-1, |n| i16::try_from(n).unwrap_or(i16::MAX))),
            (false, false) => self.buf.put_i32(n.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX))),
        }
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

/// A classic length ends at 32767. Longer text can come in by a flexible version and leave by a classic one;
/// it is then cut short at a character, because a wrong length would spoil the whole answer.
impl Body for String {
    const SHORT: bool = true;

    fn count(&self, v: Version) -> usize {
        if v.flexible { self.len() } else { self.floor_char_boundary(i16::MAX as usize) }
    }

    fn read<'a>(_: Cx<'a>, n: usize, i: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, bytes): (_, &[u8]) = take(n)(i)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok((rest, text.to_owned())),
            Err(_) => malformed(i),
        }
    }

    fn write(&self, _: Version, n: usize, out: &mut Writer) {
        out.put(self.as_bytes().get(..n).unwrap_or_default());
    }
}

/// A slice of the frame: whoever keeps a small one for long should copy it, or it holds the frame in memory.
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
/// what was really read.
impl<T: Wire> Body for Vec<T> {
    fn count(&self, _: Version) -> usize {
        self.len()
    }

    fn read<'a>(cx: Cx<'a>, n: usize, mut i: &'a [u8]) -> Parsed<'a, Self> {
        if n > MAX_ELEMENTS {
            return malformed(i);
        }
        let ahead = 4096 / size_of::<T>().max(1);
        let mut elements = Vec::with_capacity(n.min(ahead));
        for _ in 0..n {
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
