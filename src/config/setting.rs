//! What a setting is, and the macro that makes a struct and a table out of one list of them.

use super::value::{ConfigType, Valid};

/// The longest value, in bytes: what clients alter is kept in memory and in the metadata log.
const VALUE_MAX: usize = 64 << 10;

/// Where a setting's value comes from when nobody gives one, and whether it can change while the broker runs.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// A broker setting with this default, read once at start.
    Fixed(&'static str),
    /// A broker setting with this default that can be altered while the broker runs.
    Live(&'static str),
    /// A setting of a topic or a group that follows the first of these broker settings that has a value.
    Like(&'static [&'static str]),
    /// A topic setting with this default of its own.
    Own(&'static str),
}

/// One row of a table of settings.
#[derive(Debug)]
pub struct Setting {
    /// Kafka's name of it.
    pub name: &'static str,
    /// Its type on the wire.
    pub config_type: ConfigType,
    /// Whether an empty text means "not set".
    pub nullable: bool,
    /// Its default, and when it can change.
    pub scope: Scope,
    /// The range of its values.
    pub valid: Valid,
    /// The only texts allowed, if there is such a list.
    pub one_of: &'static [&'static str],
    /// What it does, in a sentence or two.
    pub words: &'static str,
    /// Reads a text as this setting's type.
    pub(super) reads: fn(&str) -> Result<(), String>,
}

impl Setting {
    /// Checks a value; the error says what would be right, to follow "must be".
    pub fn check(&self, text: &str) -> Result<(), String> {
        if text.len() > VALUE_MAX {
            return Err(format!("at most {VALUE_MAX} bytes long"));
        }
        let range = |wanted: String| match self.valid {
            Valid::Any => wanted,
            valid => format!("{wanted}, {}", valid.words()),
        };
        (self.reads)(text).map_err(range)?;
        let absent = self.nullable && text.trim().is_empty();
        if absent || self.valid.holds(text) { Ok(()) } else { Err(self.valid.words()) }
    }

    /// Its own default; nothing for a topic setting that follows the broker, and for null.
    pub fn default(&self) -> Option<&'static str> {
        match self.scope {
            Scope::Fixed(text) | Scope::Live(text) | Scope::Own(text)
                if !(self.nullable && text.is_empty()) =>
            {
                Some(text)
            }
            _ => None,
        }
    }

    /// The broker settings a topic setting follows, the strongest first.
    pub fn follows(&self) -> &'static [&'static str] {
        if let Scope::Like(chain) = self.scope { chain } else { &[] }
    }

    /// Whether it can be altered while the broker runs.
    pub fn is_live(&self) -> bool {
        !matches!(self.scope, Scope::Fixed(_))
    }

    /// The values allowed, in words; empty if every value of the type is.
    pub fn range(&self) -> String {
        if self.one_of.is_empty() { self.valid.words() } else { self.one_of.join(", ") }
    }
}

/// The name of a setting from the name of its field: `log_dirs` is `log.dirs`.
pub(super) const fn dotted<const N: usize>(field: &str) -> [u8; N] {
    let mut name = [b'.'; N];
    let (mut out, mut rest) = (name.as_mut_slice(), field.as_bytes());
    while let ([to, out_rest @ ..], [from, from_rest @ ..]) = (out, rest) {
        if *from != b'_' {
            *to = *from;
        }
        (out, rest) = (out_rest, from_rest);
    }
    name
}

/// Declares settings: `field: type, scope, range, "words";` gives a field, its documentation and a row of the
/// table.
macro_rules! settings {
    (
        $(#[$doc:meta])*
        $name:ident, $table:ident $(, $extra:ident: $extra_type:ty)*;
        $($field:ident: $type:ty, $scope:expr, $valid:expr, $words:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(#[doc = $words] pub $field: $type,)*
            $(pub(super) $extra: $extra_type,)*
        }

        #[doc = concat!("Every setting of [`", stringify!($name), "`], in the order of its fields.")]
        pub const $table: &[Setting] = &[$(Setting {
            name: {
                const BYTES: [u8; stringify!($field).len()] = dotted(stringify!($field));
                match std::str::from_utf8(&BYTES) {
                    Ok(name) => name,
                    Err(_) => panic!("a field's name is UTF-8"),
                }
            },
            config_type: <$type as Value>::TYPE,
            nullable: <$type as Value>::NULLABLE,
            scope: $scope,
            valid: $valid,
            one_of: <$type as Value>::WORDS,
            words: $words,
            reads: |text| <$type as Value>::parse(text).map(drop),
        },)*];

        impl $name {
            /// Builds it from the text of each setting, asked for in the order of the table. The error is the
            /// setting that could not be read, and what would be right.
            pub(super) fn read(
                text: impl Fn(&'static Setting) -> String,
                $($extra: $extra_type,)*
            ) -> Result<Self, (&'static Setting, String)> {
                let mut rows = $table.iter();
                $(let $field = super::setting::one::<$type>(&text, &mut rows)?;)*
                Ok(Self { $($field,)* $($extra,)* })
            }
        }
    };
}
pub(super) use settings;

/// Reads and checks the next setting of a table.
pub(super) fn one<T: super::value::Value>(
    text: &impl Fn(&'static Setting) -> String,
    rows: &mut std::slice::Iter<'static, Setting>,
) -> Result<T, (&'static Setting, String)> {
    let setting = rows.next().expect("the table has one row for each field");
    let text = text(setting);
    let value = setting.check(&text).and_then(|()| T::parse(&text));
    value.map_err(|wanted| (setting, wanted))
}
