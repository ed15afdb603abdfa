//! What Kafka keeps inside records and opaque bytes: a version, and then a message in that version.

pub mod consumer;
pub mod consumer_group;
pub mod offsets;
pub mod transactions;

use std::ops::RangeInclusive;

use bytes::{Buf, Bytes};

use crate::wire::{Malformed, Version, Wire};
use crate::writer::Writer;

/// A message that stands alone, its version in two bytes before it.
pub trait Data: Wire {
    /// The versions that can be read and written.
    const VERSIONS: RangeInclusive<i16>;

    /// The first flexible version (KIP-482).
    const FLEXIBLE: i16;

    /// Read the version and the message; says both. Bytes behind it are ignored.
    ///
    /// A version above ours is read as our highest one and its additions are ignored: in these formats new
    /// versions only append.
    fn read(bytes: &Bytes) -> Result<(i16, Self), Malformed> {
        let (number, rest) = split(bytes)?;
        if number < *Self::VERSIONS.start() {
            return Err(Malformed { field: "version", ..Malformed::invalid(rest.len()) });
        }
        Ok((number, Self::read_body(number, &rest)?))
    }

    /// Read the message alone, after its version.
    fn read_body(number: i16, rest: &Bytes) -> Result<Self, Malformed> {
        let number = number.min(*Self::VERSIONS.end());
        let v = Version::new(number, number >= Self::FLEXIBLE);
        Self::prefix_of(rest, v).map(|(it, _)| it)
    }

    /// The version and the message.
    fn write(&self, number: i16) -> Bytes {
        let v = Version::new(number, number >= Self::FLEXIBLE);
        let mut out = Writer::default();
        number.encode(v, &mut out);
        self.encode(v, &mut out);
        out.into_bytes()
    }
}

/// The version, and what follows it.
fn split(bytes: &Bytes) -> Result<(i16, Bytes), Malformed> {
    let mut rest = bytes.clone();
    match rest.try_get_i16() {
        Ok(number) => Ok((number, rest)),
        Err(_) => Err(Malformed { field: "version", ..Malformed::invalid(bytes.len()) }),
    }
}

macro_rules! data {
    ($($Name:ident = $min:literal ..= $max:literal, flexible $flexible:expr;)*) => { $(
        impl $crate::data::Data for $Name {
            const VERSIONS: std::ops::RangeInclusive<i16> = $min..=$max;
            const FLEXIBLE: i16 = $flexible;
        }
    )* };
}

use data;
