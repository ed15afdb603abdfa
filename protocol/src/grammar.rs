//! What every request looks like, as data: for programs that generate requests, such as a fuzzer.
//!
//! Only with the feature `grammar`: a broker does not need it and does not carry it.

use bytes::Bytes;

use crate::frame;
use crate::message::{Api, Field};
use crate::uuid::Uuid;
use crate::wire::{Malformed, Version};

/// What a value looks like on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// An integer of this many bytes, or a boolean, which is one byte.
    Int(usize),
    /// 16 bytes.
    Uuid,
    /// UTF-8 behind its length.
    Text,
    /// Bytes behind their length.
    Bytes,
    /// Elements behind their number.
    Array(&'static Shape),
    /// One field after the other.
    Struct(&'static [Member]),
    /// A value that may be null where [`Field::at`] says so.
    Nullable(&'static Shape),
}

/// A field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Kafka's name for it, in snake case.
    pub name: &'static str,
    /// In which versions it is on the wire, and how.
    pub field: Field,
    /// What its value looks like.
    pub shape: Shape,
}

/// A type whose shape is known.
pub trait Shaped {
    /// What its values look like on the wire.
    const SHAPE: Shape;
}

macro_rules! shapes {
    ($($Type:ty: $shape:expr,)*) => { $(
        impl Shaped for $Type {
            const SHAPE: Shape = $shape;
        }
    )* };
}

shapes! {
    bool: Shape::Int(1),
    i8: Shape::Int(1),
    i16: Shape::Int(2),
    i32: Shape::Int(4),
    i64: Shape::Int(8),
    u16: Shape::Int(2),
    Uuid: Shape::Uuid,
    crate::error::ErrorCode: Shape::Int(2),
    String: Shape::Text,
    Bytes: Shape::Bytes,
    Option<String>: Shape::Nullable(&Shape::Text),
    Option<Bytes>: Shape::Nullable(&Shape::Bytes),
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::Array(&T::SHAPE);
}

impl<T: Shaped> Shaped for Option<Vec<T>> {
    const SHAPE: Shape = Shape::Nullable(&<Vec<T>>::SHAPE);
}

/// One API: how its requests look, and whether an answer can be read.
#[derive(Clone, Copy, Debug)]
pub struct Grammar {
    /// Kafka's name of the API.
    pub name: &'static str,
    /// Its key.
    pub key: i16,
    /// What its requests look like.
    pub request: Shape,
    version: fn(i16) -> Version,
    answer: fn(&Bytes, i16) -> Result<i32, Malformed>,
}

impl Grammar {
    const fn of<A: Api>() -> Grammar
    where
        A::Request: Shaped,
    {
        Grammar {
            name: A::NAME,
            key: A::KEY,
            request: A::Request::SHAPE,
            version: A::version,
            answer: |frame, version| frame::read_response::<A>(frame, version).map(|(id, _)| id),
        }
    }

    /// How messages of this version look.
    pub fn version(&self, number: i16) -> Version {
        (self.version)(number)
    }

    /// Reads an answer (without its size) to the last byte; its correlation id.
    pub fn read_answer(&self, frame: &Bytes, version: i16) -> Result<i32, Malformed> {
        (self.answer)(frame, version)
    }
}

macro_rules! grammars {
    ($($module:ident $Api:ident),* $(,)?) => {
        /// The requests of all APIs, in the order of their keys.
        pub const REQUESTS: &[Grammar] = &[$( Grammar::of::<crate::api::$module::$Api>() ),*];
    };
}

crate::apis!(grammars);
