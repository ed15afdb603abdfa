//! Where values come from: `--override`, the environment, the properties file, the defaults; in this order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::broker::{BROKER, BrokerConfig};
use super::describe::ConfigSource;
use super::listener;
use super::memory;
use super::others::{is_no_setting, why_ignored, why_refused};
use super::setting::Setting;

/// Why a configuration cannot be used; its text is one line for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The properties file cannot be read.
    #[error("cannot read settings from {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system or the parser says.
        why: String,
    },
    /// A value is not possible.
    #[error("{name}={value} (from {origin}): must be {wanted}")]
    Value {
        /// The key.
        name: String,
        /// The value given.
        value: String,
        /// Who gave it.
        origin: String,
        /// What would be right.
        wanted: String,
    },
}

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--override` on the command line, or code that builds a configuration.
    Override,
    /// This variable of the environment.
    Environment(String),
    /// This properties file.
    File(PathBuf),
    /// An alteration of this broker alone, while it runs.
    DynamicBroker,
    /// An alteration of all brokers, while they run.
    DynamicDefaultBroker,
}

impl Origin {
    /// What DescribeConfigs answers for it.
    pub(super) fn source(&self) -> ConfigSource {
        match self {
            Self::Override | Self::Environment(_) | Self::File(_) => ConfigSource::StaticBroker,
            Self::DynamicBroker => ConfigSource::DynamicBroker,
            Self::DynamicDefaultBroker => ConfigSource::DynamicDefaultBroker,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Override => "--override".to_owned(),
            Self::Environment(variable) => format!("environment {variable}"),
            Self::File(path) => path.display().to_string(),
            Self::DynamicBroker | Self::DynamicDefaultBroker => "an alteration while running".to_owned(),
        }
    }
}

/// The values that somebody gave, each with who gave it; the strongest of a key first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given(BTreeMap<String, Vec<(String, Origin)>>);

impl Given {
    fn set(&mut self, key: String, value: String, origin: Origin) {
        self.0.insert(key, vec![(value, origin)]);
    }

    fn add(&mut self, key: &str, value: &str, origin: Origin) {
        self.0.entry(key.to_owned()).or_default().insert(0, (value.to_owned(), origin));
    }

    /// The keys that are no settings of this broker.
    pub(super) fn others(&self) -> impl Iterator<Item = &String> {
        self.0.keys().filter(|key| broker_setting(key).is_none())
    }

    /// All values given for a key, the strongest first.
    pub(super) fn all(&self, key: &str) -> &[(String, Origin)] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    fn text(&self, setting: &Setting) -> String {
        let given = self.all(setting.name).first().map(|(value, _)| value.as_str());
        given.or(setting.default()).unwrap_or_default().to_owned()
    }
}

/// A configuration, and what is to be said about it once logging works.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: BrokerConfig,
    /// One sentence for each key that has no effect.
    pub notes: Vec<String>,
}

/// Keys that are read as another, if that other is not given.
const SYNONYMS: &[(&str, &str)] = &[("log.dir", "log.dirs"), ("broker.id", "node.id")];

/// Reads the settings: overrides are stronger than the environment, which is stronger than the file.
///
/// Fails on an unreadable file and on the first impossible value; unknown keys end up in the notes.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<Loaded, ConfigError> {
    let mut given = Given::default();
    if let Some(path) = file {
        for (key, value) in properties(path)? {
            given.set(key, value, Origin::File(path.to_owned()));
        }
    }
    for (variable, value) in environment {
        if let Some(key) = key_of_variable(&variable) {
            given.set(key, value, Origin::Environment(variable));
        }
    }
    for (key, value) in overrides {
        given.set(key.clone(), value.clone(), Origin::Override);
    }
    for (synonym, key) in SYNONYMS {
        if let Some(values) = given.0.remove(*synonym) {
            given.0.entry((*key).to_owned()).or_insert(values);
        }
    }
    let notes = notes(&mut given)?;
    Ok(Loaded { config: BrokerConfig::build(given)?, notes })
}

/// Takes the keys that are no settings of this broker out, and says about each why.
fn notes(given: &mut Given) -> Result<Vec<String>, ConfigError> {
    let mut notes = Vec::new();
    for (key, values) in &given.0 {
        let Some((value, origin)) = values.first() else { continue };
        if broker_setting(key).is_some() {
            continue;
        }
        if let Some(wanted) = why_refused(key, value) {
            return Err(wrong(key, value, origin, wanted.to_owned()));
        }
        let from = origin.words();
        notes.push(match why_ignored(key) {
            Some(why) => format!("{key} (from {from}) is ignored: {why}"),
            None => format!(
                "{key} (from {from}) is ignored: there is no such setting; braid --settings lists them"
            ),
        });
    }
    given.0.retain(|key, _| broker_setting(key).is_some());
    Ok(notes)
}

fn properties(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let failed = |why: String| ConfigError::File { path: path.to_owned(), why };
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    let pairs = java_properties::read(BufReader::new(file)).map_err(|e| failed(e.to_string()))?;
    Ok(pairs.into_iter().collect())
}

/// The key that a variable sets, by the rule of Kafka's container images: `KAFKA_A_B__C___D` sets `a.b_c-d`.
/// Variables of Bitnami's images (`KAFKA_CFG_`) are read too.
pub(super) fn key_of_variable(variable: &str) -> Option<String> {
    if is_no_setting(variable) {
        return None;
    }
    let rest = variable.strip_prefix("KAFKA_CFG_").or_else(|| variable.strip_prefix("KAFKA_"))?;
    let key = rest.to_ascii_lowercase().replace("___", "-").replace("__", "\0").replace('_', ".");
    Some(key.replace('\0', "_")).filter(|key| !key.is_empty())
}

fn wrong(name: &str, value: &str, origin: &Origin, wanted: String) -> ConfigError {
    ConfigError::Value { name: name.to_owned(), value: value.to_owned(), origin: origin.words(), wanted }
}

/// The row of a broker setting, if there is one of this name.
pub fn broker_setting(name: &str) -> Option<&'static Setting> {
    BROKER.iter().find(|s| s.name == name)
}

impl BrokerConfig {
    /// The defaults with these values over them, as `--override` would put them; unknown keys are an error.
    pub fn with<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let mut given = Given::default();
        for (key, value) in pairs {
            let (key, value) = (key.as_ref(), value.as_ref());
            if broker_setting(key).is_none() {
                return Err(wrong(
                    key,
                    value,
                    &Origin::Override,
                    "the value of a setting that exists".to_owned(),
                ));
            }
            given.set(key.to_owned(), value.to_owned(), Origin::Override);
        }
        Self::build(given)
    }

    /// This configuration with settings altered while the broker runs: for all brokers, and for this one
    /// alone, which is stronger. Earlier alterations are forgotten. Settings that are not
    /// [`Setting::is_live`] cannot be altered; keys that are no settings are only kept to be described.
    pub fn altered(
        &self,
        all_brokers: &BTreeMap<String, String>,
        this_broker: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let mut given = self.given.clone();
        for values in given.0.values_mut() {
            values.retain(|(_, origin)| origin.source() == ConfigSource::StaticBroker);
        }
        given.0.retain(|_, values| !values.is_empty());
        for (values, origin) in
            [(all_brokers, Origin::DynamicDefaultBroker), (this_broker, Origin::DynamicBroker)]
        {
            for (key, value) in values {
                if broker_setting(key).is_some_and(|setting| !setting.is_live()) {
                    let wanted =
                        "the value of a setting that can be altered while the broker runs".to_owned();
                    return Err(wrong(key, value, &origin, wanted));
                }
                given.add(key, value, origin.clone());
            }
        }
        Self::build(given)
    }

    /// Reads every field, then checks what concerns more than one.
    fn build(given: Given) -> Result<Self, ConfigError> {
        let origin =
            |name: &str| given.all(name).first().map_or(Origin::Override, |(_, origin)| origin.clone());
        let refuse = |name: &str, wanted| {
            let value = broker_setting(name).map(|s| given.text(s)).unwrap_or_default();
            wrong(name, &value, &origin(name), wanted)
        };
        let mut config = Self::read(|setting| given.text(setting), given.clone())
            .map_err(|(setting, wanted)| refuse(setting.name, wanted))?;
        config.validate().map_err(|(name, wanted)| refuse(name, wanted))?;
        Ok(config)
    }

    fn validate(&mut self) -> Result<(), (&'static str, String)> {
        let (map, controllers) = (&self.listener_security_protocol_map, &self.controller_listener_names);
        listener::check(&mut self.listeners, map, controllers).map_err(|e| ("listeners", e))?;
        if let Some(advertised) = &mut self.advertised_listeners {
            listener::settle_advertised(advertised, &self.listeners, map, controllers)
                .map_err(|e| ("advertised.listeners", e))?;
        }
        listener::settle_http(&self.http_listeners).map_err(|e| ("http.listeners", e))?;
        if self.queued_max_request_bytes < 0 {
            self.queued_max_request_bytes = memory::available() / 4;
        }
        if self.log_dirs.is_empty() {
            return Err(("log.dirs", "a folder, or several separated by commas".to_owned()));
        }
        self.ordered()
    }

    /// Pairs of settings of which the first must not be above the second.
    fn ordered(&self) -> Result<(), (&'static str, String)> {
        let pairs = [
            ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
            ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"),
            ("group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
            ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
            ("group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
            ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
        ];
        let number = |name| broker_setting(name).and_then(|s| self.given.text(s).trim().parse::<i64>().ok());
        match pairs.into_iter().find(|(low, high)| number(low) > number(high)) {
            Some((low, high)) => Err((low, format!("at most {high}"))),
            None => Ok(()),
        }
    }

    /// The text that a topic setting has until a topic overrides it.
    pub(super) fn topic_default(&self, setting: &Setting) -> String {
        match self.followed(setting) {
            Some((broker, text)) => scaled(broker.name, setting.name, &text),
            None => setting.default().unwrap_or_default().to_owned(),
        }
    }

    /// The broker setting that a topic setting follows now, and its text.
    pub(super) fn followed(&self, setting: &Setting) -> Option<(&'static Setting, String)> {
        setting.follows().iter().find_map(|name| {
            let broker = broker_setting(name)?;
            Some((broker, self.given.text(broker)))
                .filter(|(_, text)| !(broker.nullable && text.trim().is_empty()))
        })
    }
}

impl Default for BrokerConfig {
    /// Every setting at its default.
    fn default() -> Self {
        Self::build(Given::default()).expect("the defaults of the table are valid")
    }
}

/// A broker's value in the unit of a topic's: hours and minutes become milliseconds, and below zero is for
/// ever.
fn scaled(from: &str, to: &str, text: &str) -> String {
    let factor = match from.rsplit('.').next() {
        Some("hours") if to.ends_with(".ms") => 3_600_000,
        Some("minutes") if to.ends_with(".ms") => 60_000,
        _ => return text.to_owned(),
    };
    match text.trim().parse::<i64>() {
        Ok(n) if n < 0 => "-1".to_owned(),
        Ok(n) => n.saturating_mul(factor).to_string(),
        Err(_) => text.to_owned(),
    }
}
