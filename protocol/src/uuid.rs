//! A UUID as Kafka uses it: 16 bytes on the wire, 22 characters of URL-safe base64 for people.

use std::fmt;
use std::str::FromStr;

use nom::bytes::complete::take;

use crate::wire::{Cx, Parsed, Version, Wire, malformed};
use crate::writer::Writer;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of six bits that 128 bits need.
const LEN: usize = 22;

/// The id of a topic, a directory or a cluster.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(
    /// Most significant byte first.
    pub [u8; 16],
);

impl Uuid {
    /// All zeros: Kafka's word for "no id".
    pub const ZERO: Uuid = Uuid([0; 16]);

    /// Is this no id at all?
    pub fn is_zero(self) -> bool {
        self == Uuid::ZERO
    }
}

/// URL-safe base64 without padding, as in `kafka-topics --describe` and `partition.metadata`.
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = u128::from_be_bytes(self.0);
        let digit = |at: usize| {
            // The first 21 characters hold six bits each, the last one holds the two that remain, on its
            // left.
            let six = if at + 1 < LEN { n >> (122 - 6 * at) } else { n << 4 };
            ALPHABET.get((six & 63) as usize).map_or('A', |&c| char::from(c))
        };
        f.pad(&(0..LEN).map(digit).collect::<String>())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a UUID in Kafka's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUuid;

impl fmt::Display for NotUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a uuid: 22 characters of URL-safe base64 expected")
    }
}

impl std::error::Error for NotUuid {}

impl FromStr for Uuid {
    type Err = NotUuid;

    /// Only the one form that `Display` gives is accepted, so that equal ids are equal text.
    fn from_str(text: &str) -> Result<Self, NotUuid> {
        let digit = |c: u8| ALPHABET.iter().position(|&x| x == c).map(|six| six as u128).ok_or(NotUuid);
        let (&last, first) = text.as_bytes().split_last().ok_or(NotUuid)?;
        let last = digit(last)?;
        if text.len() != LEN || last & 15 != 0 {
            return Err(NotUuid);
        }
        let n = first.iter().try_fold(0u128, |n, &c| Ok(n << 6 | digit(c)?))?;
        Ok(Uuid((n << 2 | last >> 4).to_be_bytes()))
    }
}

impl Wire for Uuid {
    fn decode<'a>(_: Cx<'a>, i: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, bytes): (_, &[u8]) = take(16usize)(i)?;
        match bytes.try_into() {
            Ok(bytes) => Ok((rest, Uuid(bytes))),
            Err(_) => malformed(i),
        }
    }

    fn encode(&self, _: Version, out: &mut Writer) {
        out.put(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_kafka_writes() {
        // Kafka's reserved id of the metadata topic is a one.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(Uuid(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
        assert_eq!(Uuid::ZERO.to_string(), "A".repeat(22));
    }

    #[test]
    fn text_and_back() {
        for seed in 0..=255u8 {
            let id = Uuid(std::array::from_fn(|i| seed.wrapping_mul(31).rotate_left(i as u32) ^ i as u8));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn other_text_is_refused() {
        let wrong = ["", "A", "AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAAAAAAAAAAAAR", "AAAAAAAAAA+AAAAAAAAAAQ"];
        for text in wrong.iter().copied().chain(["ééééééééééé"]) {
            assert_eq!(text.parse::<Uuid>(), Err(NotUuid), "{text}");
        }
    }
}
