//! Made-up values: every field that a version has gets a value, decided by a few random bytes.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::uuid::Uuid;
use crate::wire::{Body, Version};

/// Random bytes to decide by; zeros when they run out.
pub(crate) struct Entropy<'a>(&'a [u8]);

impl<'a> Entropy<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Entropy(bytes)
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.byte() & 1 == 1
    }
}

/// A value that the tests can make up, and whose memory they can count.
pub(crate) trait Sample: Sized {
    /// A value that this version can carry.
    fn sample(entropy: &mut Entropy<'_>, v: Version) -> Self;

    /// Bytes that it holds on the heap.
    fn heap(&self) -> usize;
}

macro_rules! flat {
    ($($Type:ty: $entropy:ident => $value:expr,)*) => { $(
        impl Sample for $Type {
            fn sample($entropy: &mut Entropy<'_>, _: Version) -> Self {
                $value
            }

            fn heap(&self) -> usize {
                0
            }
        }
    )* };
}

flat! {
    bool: entropy => entropy.flip(),
    i8: entropy => i8::from_be_bytes(entropy.bytes()),
    i16: entropy => i16::from_be_bytes(entropy.bytes()),
    i32: entropy => i32::from_be_bytes(entropy.bytes()),
    i64: entropy => i64::from_be_bytes(entropy.bytes()),
    u16: entropy => u16::from_be_bytes(entropy.bytes()),
    Uuid: entropy => Uuid(entropy.bytes()),
    ErrorCode: entropy => ErrorCode(i16::from_be_bytes(entropy.bytes())),
}

impl Sample for String {
    fn sample(entropy: &mut Entropy<'_>, _: Version) -> Self {
        let n = entropy.byte() % 6;
        (0..n).map(|_| ['a', 'Z', '9', '-', 'é', '漢', '🦀', '.'][usize::from(entropy.byte() % 8)]).collect()
    }

    fn heap(&self) -> usize {
        self.capacity()
    }
}

/// Now and then enough bytes to be shared rather than copied.
impl Sample for Bytes {
    fn sample(entropy: &mut Entropy<'_>, _: Version) -> Self {
        let n = match entropy.byte() {
            240.. => 700,
            n => usize::from(n % 10),
        };
        let fill = entropy.byte();
        (0..n).map(|i| fill.wrapping_add(i as u8)).collect()
    }

    fn heap(&self) -> usize {
        0 // a part of the frame
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(entropy: &mut Entropy<'_>, v: Version) -> Self {
        let n = entropy.byte() % 4;
        (0..n).map(|_| T::sample(entropy, v)).collect()
    }

    fn heap(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(T::heap).sum::<usize>()
    }
}

impl<B: Body + Sample> Sample for Option<B> {
    fn sample(entropy: &mut Entropy<'_>, v: Version) -> Self {
        (!v.null || entropy.byte() > 60).then(|| B::sample(entropy, v))
    }

    fn heap(&self) -> usize {
        self.as_ref().map_or(0, B::heap)
    }
}
