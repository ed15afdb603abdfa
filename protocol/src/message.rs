//! `message!` and `api!`: the whole schema language, in two macros.
//!
//! ```text
//! api! { Fetch = 1, 4..=18, flexible 12.., FetchRequest => FetchResponse }
//! message! {
//!     /// What a consumer asks for.
//!     FetchRequest {
//!         cluster_id: Option<String>   [tag 0, 12..],
//!         replica_id: i32              [..=14] = -1,
//!         topics: Vec<FetchTopic>,
//!     }
//! }
//! ```
//! After the type stands when the field is on the wire: its versions, its tag, from when it may be null, and
//! `classic` where it keeps the classic form in flexible versions; then the default that an absent field
//! reads as. An `Option` may be null in every version unless it says `null N..`. Fields stand in the order of
//! the wire, tagged ones in the order of their tags. A tagged field equal to its default is not written:
//! librdkafka up to 2.1.1 cannot skip tags.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use crate::wire::{Malformed, Parsed, Version, Wire};

/// When a field is on the wire, in which tag, and from which version it may be null.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    from: i16,
    to: i16,
    null: i16,
    tag: Option<u32>,
    classic: bool,
}

impl Field {
    /// In every version, never tagged, an `Option` always nullable.
    pub const ALWAYS: Field = Field { from: 0, to: i16::MAX, null: 0, tag: None, classic: false };

    /// First version that has the field.
    pub const fn from(self, from: i16) -> Field {
        Field { from, ..self }
    }

    /// Last version that has the field.
    pub const fn to(self, to: i16) -> Field {
        Field { to, ..self }
    }

    /// First version that may be null.
    pub const fn null(self, null: i16) -> Field {
        Field { null, ..self }
    }

    /// In the tagged section, under this tag.
    pub const fn tag(self, tag: u32) -> Field {
        Field { tag: Some(tag), ..self }
    }

    /// In the classic form even in flexible versions.
    pub const fn classic(self) -> Field {
        Field { classic: true, ..self }
    }

    /// Has this version the field?
    pub const fn here(self, v: Version) -> bool {
        self.from <= v.number && v.number <= self.to
    }

    /// Is it among the plain fields of this version?
    pub const fn plain(self, v: Version) -> bool {
        self.tag.is_none() && self.here(v)
    }

    /// Its tag in this version.
    pub const fn tagged(self, v: Version) -> Option<u32> {
        if self.here(v) { self.tag } else { None }
    }

    /// Has it a tag in any version?
    pub const fn has_tag(self) -> bool {
        self.tag.is_some()
    }

    /// The version as this field's value should see it.
    pub const fn at(self, v: Version) -> Version {
        Version { number: v.number, flexible: v.flexible && !self.classic, null: v.number >= self.null }
    }
}

/// Name the field in the error of the value inside it, unless a field within has done so.
pub fn named<'a, T>(parsed: Parsed<'a, T>, field: &'static str) -> Parsed<'a, T> {
    parsed.map_err(|e| e.map(|m| if m.field.is_empty() { Malformed { field, ..m } } else { m }))
}

/// The value of a tagged field, which has to fill its section.
pub fn whole<T>(parsed: Parsed<'_, T>, field: &'static str) -> Result<T, nom::Err<Malformed>> {
    match named(parsed, field)? {
        ([], value) => Ok(value),
        (rest, _) => Err(nom::Err::Error(Malformed { field, ..Malformed::invalid(rest.len()) })),
    }
}

/// One API of the protocol: its key, the versions this crate speaks, and its two messages.
pub trait Api: 'static {
    /// What the client sends.
    type Request: Wire + Clone + Debug + Default + PartialEq + Send + Sync + 'static;
    /// What the broker answers.
    type Response: Wire + Clone + Debug + Default + PartialEq + Send + Sync + 'static;
    /// Kafka's name for it, without `Request`.
    const NAME: &'static str;
    /// Its number in the request header.
    const KEY: i16;
    /// The versions that can be read and written.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version (KIP-482).
    const FLEXIBLE: i16;

    /// How messages of this version look.
    fn version(number: i16) -> Version {
        Version::new(number, number >= Self::FLEXIBLE)
    }
}

macro_rules! field {
    (@ $f:expr;) => { $f };
    (@ $f:expr; , $($more:tt)*) => { $crate::message::field!(@ $f; $($more)*) };
    (@ $f:expr; classic $($more:tt)*) => { $crate::message::field!(@ $f.classic(); $($more)*) };
    (@ $f:expr; tag $n:literal $($more:tt)*) => { $crate::message::field!(@ $f.tag($n); $($more)*) };
    (@ $f:expr; null $n:literal .. $($more:tt)*) => { $crate::message::field!(@ $f.null($n); $($more)*) };
    (@ $f:expr; ..= $b:literal $($more:tt)*) => { $crate::message::field!(@ $f.to($b); $($more)*) };
    (@ $f:expr; $a:literal ..= $b:literal $($more:tt)*) => {
        $crate::message::field!(@ $f.from($a).to($b); $($more)*)
    };
    (@ $f:expr; $a:literal .. $($more:tt)*) => { $crate::message::field!(@ $f.from($a); $($more)*) };
    ($($spec:tt)*) => { $crate::message::field!(@ $crate::message::Field::ALWAYS; $($spec)*) };
}

macro_rules! default {
    () => {
        Default::default()
    };
    ($value:expr) => {
        $value
    };
}

macro_rules! message {
    ($(
        $(#[$meta:meta])* $Name:ident {
            $( $(#[$doc:meta])* $field:ident : $Type:ty $([$($spec:tt)*])? $(= $default:expr)? ),* $(,)?
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Name {
            $( #[allow(missing_docs, reason = "Kafka's own names")] $(#[$doc])* pub $field: $Type, )*
        }

        #[allow(non_upper_case_globals, reason = "one constant per field, under the field's name")]
        impl $Name {
            $( const $field: $crate::message::Field = $crate::message::field!($($($spec)*)?); )*
        }

        impl Default for $Name {
            fn default() -> Self {
                $Name { $( $field: $crate::message::default!($($default)?), )* }
            }
        }

        impl $crate::wire::Wire for $Name {
            #[inline(never)]
            fn decode<'a>(cx: $crate::wire::Cx<'a>, mut i: &'a [u8]) -> $crate::wire::Parsed<'a, Self> {
                use $crate::{message::{named, whole}, wire::{Cx, Wire, read_tags}};
                let mut it = Self::default();
                $( if Self::$field.plain(cx.v) {
                    let cx = Cx { v: Self::$field.at(cx.v), ..cx };
                    let parsed = Wire::decode(cx, i);
                    (i, it.$field) = named(parsed, concat!(stringify!($Name), ".", stringify!($field)))?;
                } )*
                if cx.v.flexible {
                    (i, ()) = read_tags(i, |tag, body| {
                        $( if Self::$field.tagged(cx.v) == Some(tag) {
                            let cx = Cx { v: Self::$field.at(cx.v), ..cx };
                            let parsed = Wire::decode(cx, body);
                            it.$field = whole(parsed, concat!(stringify!($Name), ".", stringify!($field)))?;
                        } )*
                        Ok(())
                    })?;
                }
                Ok((i, it))
            }

            #[inline(never)]
            fn encode(&self, v: $crate::wire::Version, out: &mut $crate::writer::Writer) {
                $( if Self::$field.plain(v) {
                    $crate::wire::Wire::encode(&self.$field, Self::$field.at(v), out);
                } )*
                if !v.flexible {
                    return;
                }
                let mut tags = $crate::wire::Tags::default();
                if const { false $( || Self::$field.has_tag() )* } {
                    let default = Self::default();
                    $( if let Some(tag) = Self::$field.tagged(v) && self.$field != default.$field {
                        tags.push(tag, Self::$field.at(v), &self.$field);
                    } )*
                }
                tags.write(out);
            }
        }

        /// A nullable struct: one byte before it, -1 for null and 1 for present, where the version knows
        /// null.
        impl $crate::wire::Wire for Option<$Name> {
            fn decode<'a>(cx: $crate::wire::Cx<'a>, i: &'a [u8]) -> $crate::wire::Parsed<'a, Self> {
                let (i, marker) = if cx.v.null { i8::decode(cx, i)? } else { (i, 1) };
                if marker < 0 {
                    return Ok((i, None));
                }
                $Name::decode(cx, i).map(|(i, it)| (i, Some(it)))
            }

            fn encode(&self, v: $crate::wire::Version, out: &mut $crate::writer::Writer) {
                if v.null {
                    (if self.is_some() { 1i8 } else { -1 }).encode(v, out);
                }
                match self {
                    Some(it) => it.encode(v, out),
                    None if v.null => {}
                    None => $Name::default().encode(v, out),
                }
            }
        }

        #[cfg(feature = "grammar")]
        impl $crate::grammar::Shaped for $Name {
            const SHAPE: $crate::grammar::Shape = $crate::grammar::Shape::Struct(&[
                $( $crate::grammar::Member {
                    name: stringify!($field),
                    field: Self::$field,
                    shape: <$Type as $crate::grammar::Shaped>::SHAPE,
                }, )*
            ]);
        }

        #[cfg(feature = "grammar")]
        impl $crate::grammar::Shaped for Option<$Name> {
            const SHAPE: $crate::grammar::Shape =
                $crate::grammar::Shape::Nullable(&<$Name as $crate::grammar::Shaped>::SHAPE);
        }

        #[cfg(test)]
        impl $crate::tests::Sample for $Name {
            fn sample(entropy: &mut $crate::tests::Entropy<'_>, v: $crate::wire::Version) -> Self {
                let mut it = Self::default();
                $( if Self::$field.here(v) {
                    it.$field = $crate::tests::Sample::sample(entropy, Self::$field.at(v));
                } )*
                it
            }

            fn heap(&self) -> usize {
                0 $( + $crate::tests::Sample::heap(&self.$field) )*
            }
        }

        #[cfg(test)]
        impl $crate::tests::Sample for Option<$Name> {
            fn sample(entropy: &mut $crate::tests::Entropy<'_>, v: $crate::wire::Version) -> Self {
                (!v.null || entropy.flip()).then(|| $crate::tests::Sample::sample(entropy, v))
            }

            fn heap(&self) -> usize {
                self.as_ref().map_or(0, $crate::tests::Sample::heap)
            }
        }
    )* };
}

macro_rules! api {
    (
        $(#[$meta:meta])*
        $Name:ident = $key:literal, $min:literal ..= $max:literal, flexible $flexible:literal ..,
        $Request:ident => $Response:ident
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub struct $Name;

        impl $crate::message::Api for $Name {
            type Request = $Request;
            type Response = $Response;
            const NAME: &'static str = stringify!($Name);
            const KEY: i16 = $key;
            const VERSIONS: std::ops::RangeInclusive<i16> = $min..=$max;
            const FLEXIBLE: i16 = $flexible;
        }
    };
}

pub(crate) use {api, default, field, message};
