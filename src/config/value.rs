//! One value of a setting: how a text becomes a Rust type, and what to say when it does not.

use std::path::PathBuf;

use super::listener::{Listener, ProtocolMap};

/// The type of a setting, as the number DescribeConfigs answers (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// 32-bit number.
    Int = 3,
    /// 16-bit number.
    Short = 4,
    /// 64-bit number.
    Long = 5,
    /// Floating point number.
    Double = 6,
    /// Values separated by commas.
    List = 7,
    /// Name of a Java class; kept for clients that ask, never used here.
    Class = 8,
    /// A secret: never shown.
    Password = 9,
}

/// What else a value must satisfy, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    /// Every value of the type.
    Any,
    /// A number not below this.
    AtLeast(i64),
    /// A number in this range, both ends included.
    Between(i64, i64),
    /// A number in this range, or -1, which leaves the choice to the broker.
    BetweenOrAny(i64, i64),
    /// A number not below 1, or -1 for no limit.
    Unlimited,
    /// Replicas, each as `partition:broker`, or `*` for all of them.
    Replicas,
    /// A fraction from 0 to 1.
    Ratio,
    /// One text only, because the other choice is something this broker does not do.
    Only(&'static str),
}

impl Valid {
    /// Whether a text (already known to be of the setting's type) is in range.
    pub(super) fn holds(self, text: &str) -> bool {
        let number = || text.trim().parse::<i64>();
        match self {
            Self::Any => true,
            Self::AtLeast(low) => match number() {
                Ok(n) => n >= low,
                Err(_) => text.trim().parse::<f64>().is_ok_and(|n| n >= low as f64),
            },
            Self::Between(low, high) => number().is_ok_and(|n| (low..=high).contains(&n)),
            Self::BetweenOrAny(low, high) => number().is_ok_and(|n| n == -1 || (low..=high).contains(&n)),
            Self::Unlimited => number().is_ok_and(|n| n == -1 || n >= 1),
            Self::Replicas => text.trim() == "*" || parts(text).all(is_replica),
            Self::Ratio => text.trim().parse::<f64>().is_ok_and(|n| (0.0..=1.0).contains(&n)),
            Self::Only(word) => text.trim().eq_ignore_ascii_case(word),
        }
    }

    /// The range in words; empty if there is none.
    pub(super) fn words(self) -> String {
        match self {
            Self::Any => String::new(),
            Self::AtLeast(low) => format!("at least {low}"),
            Self::Between(low, high) => format!("from {low} to {high}"),
            Self::BetweenOrAny(low, high) => format!("from {low} to {high}, or -1"),
            Self::Unlimited => "at least 1, or -1 for no limit".to_owned(),
            Self::Replicas => "* or a list of partition:broker".to_owned(),
            Self::Ratio => "from 0 to 1".to_owned(),
            Self::Only(word) => format!("{word} (nothing else is possible in this version)"),
        }
    }
}

fn is_replica(text: &str) -> bool {
    let number = |text: &str| text.trim().parse::<u32>().is_ok();
    text.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

/// A Rust type that a setting can have.
pub trait Value: Sized {
    /// Its number in DescribeConfigs.
    const TYPE: ConfigType;
    /// Whether an empty text means "not set" (null in DescribeConfigs).
    const NULLABLE: bool = false;
    /// The words allowed, if they are few.
    const WORDS: &'static [&'static str] = &[];

    /// Reads a value; the error says what would be right, to follow "must be".
    fn parse(text: &str) -> Result<Self, String>;
}

macro_rules! number {
    ($($rust:ty => $kind:ident),*) => {$(
        impl Value for $rust {
            const TYPE: ConfigType = ConfigType::$kind;

            fn parse(text: &str) -> Result<Self, String> {
                let wanted = |_| format!("a whole number of {} bits", <$rust>::BITS);
                text.trim().parse().map_err(wanted)
            }
        }
    )*};
}
number!(i16 => Short, i32 => Int, i64 => Long);

impl Value for f64 {
    const TYPE: ConfigType = ConfigType::Double;

    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(|| "a number".to_owned())
    }
}

impl Value for bool {
    const TYPE: ConfigType = ConfigType::Boolean;

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            t if t.eq_ignore_ascii_case("true") => Ok(true),
            t if t.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }
}

impl Value for String {
    const TYPE: ConfigType = ConfigType::String;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.trim().to_owned())
    }
}

impl<T: Value> Value for Option<T> {
    const TYPE: ConfigType = T::TYPE;
    const NULLABLE: bool = true;
    const WORDS: &'static [&'static str] = T::WORDS;

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
}

/// The parts of a comma-separated list, trimmed, empty ones left out.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

impl Value for Vec<String> {
    const TYPE: ConfigType = ConfigType::List;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(parts(text).map(str::to_owned).collect())
    }
}

impl Value for Vec<PathBuf> {
    // Kafka declares `log.dirs` as a string, for historical reasons.
    const TYPE: ConfigType = ConfigType::String;

    fn parse(text: &str) -> Result<Self, String> {
        let paths: Self = parts(text).map(PathBuf::from).collect();
        if paths.is_empty() { Err("a folder, or several separated by commas".to_owned()) } else { Ok(paths) }
    }
}

impl Value for Vec<Listener> {
    const TYPE: ConfigType = ConfigType::List;

    fn parse(text: &str) -> Result<Self, String> {
        parts(text).map(Listener::parse).collect()
    }
}

impl Value for ProtocolMap {
    const TYPE: ConfigType = ConfigType::String;

    fn parse(text: &str) -> Result<Self, String> {
        Self::read(text)
    }
}

/// An enum whose variants are words in a configuration.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$inner])* $variant,)* }

        impl $name {
            /// The word that stands for it in a configuration.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Value for $name {
            const TYPE: ConfigType = ConfigType::String;
            const WORDS: &'static [&'static str] = &[$($word),*];

            fn parse(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("one of: {}", Self::WORDS.join(", "))),
                }
            }
        }
    };
}

words! {
    /// When acks=all is answered (`braid.durability`).
    Durability {
        /// After the batch is on stable storage.
        Synced = "synced",
        /// When the batch is in the operating system's page cache, as Kafka on one node does.
        Written = "written",
    }
}

words! {
    /// Whose clock stamps a record (`message.timestamp.type`).
    TimestampType {
        /// The producer's.
        CreateTime = "CreateTime",
        /// The broker's, at append.
        LogAppendTime = "LogAppendTime",
    }
}

words! {
    /// How batches are compressed in a log (`compression.type`).
    CompressionType {
        /// As the producer sent them.
        Producer = "producer",
        /// Not at all.
        Uncompressed = "uncompressed",
        /// gzip.
        Gzip = "gzip",
        /// snappy.
        Snappy = "snappy",
        /// lz4.
        Lz4 = "lz4",
        /// zstd.
        Zstd = "zstd",
    }
}

words! {
    /// Which ways a group at work may go between the two protocols (`group.consumer.migration.policy`).
    MigrationPolicy {
        /// Both.
        Bidirectional = "bidirectional",
        /// From the classic one to that of KIP-848.
        Upgrade = "upgrade",
        /// Back.
        Downgrade = "downgrade",
        /// Neither.
        Disabled = "disabled",
    }
}

impl MigrationPolicy {
    /// Whether a classic group may become one of KIP-848.
    pub fn upgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    /// Whether it may go back.
    pub fn downgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

words! {
    /// How the program's own log lines look (`braid.log.format`).
    LogFormat {
        /// One readable line each.
        Text = "text",
        /// One JSON object each.
        Json = "json",
    }
}

/// What happens to old records of a topic (`cleanup.policy`): either, both, or nothing (KIP-1161).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Whole segments are deleted by age and size.
    pub delete: bool,
    /// Only the last value of each key is kept.
    pub compact: bool,
}

impl Value for CleanupPolicy {
    const TYPE: ConfigType = ConfigType::List;

    fn parse(text: &str) -> Result<Self, String> {
        let mut policy = Self { delete: false, compact: false };
        if text.trim().is_empty() {
            return Ok(policy);
        }
        for word in text.split(',').map(str::trim) {
            match word {
                "delete" => policy.delete = true,
                "compact" => policy.compact = true,
                _ => return Err("delete, compact, both separated by a comma, or nothing".to_owned()),
            }
        }
        Ok(policy)
    }
}
