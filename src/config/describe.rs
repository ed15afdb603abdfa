//! DescribeConfigs: what a broker's and a topic's settings are now, and where each value comes from.

use std::collections::BTreeMap;

use super::broker::{BROKER, BrokerConfig};
use super::dynamic;
use super::group::GROUP;
use super::setting::Setting;
use super::source::broker_setting;
use super::topic::TOPIC;
use super::value::ConfigType;

/// Where a value comes from, as the number DescribeConfigs answers (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// The topic's own override.
    Topic = 1,
    /// Altered on this broker while it ran.
    DynamicBroker = 2,
    /// Altered on all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// Given at start: command line, environment, file.
    StaticBroker = 4,
    /// Nobody gave it.
    Default = 5,
    /// The group's own override.
    Group = 8,
}

/// One setting as DescribeConfigs answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; none for null, and for a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Its type, as Kafka numbers types.
    pub config_type: i8,
    /// Whether it is a secret.
    pub is_sensitive: bool,
    /// Whether it cannot be altered while the broker runs.
    pub read_only: bool,
    /// What it does.
    pub documentation: &'static str,
    /// Every place the value could come from, the strongest first: name, value, source.
    pub synonyms: Vec<(String, Option<String>, ConfigSource)>,
}

/// The type of a key that nobody knows, as Kafka numbers types.
const UNKNOWN_TYPE: i8 = 0;

/// Settings that stand for one another, the strongest first. Kafka names all of them as synonyms of each.
const FAMILIES: &[&[&str]] = &[
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

/// The settings of a broker with these names, or all of them.
pub fn describe_broker(config: &BrokerConfig, names: Option<&[String]>) -> Vec<ConfigEntry> {
    let wanted = |own: &str| names.is_none_or(|names| names.iter().any(|name| name == own));
    let settings = BROKER.iter().filter(|s| wanted(s.name)).map(|setting| config.entry(setting));
    let others = config.given.others().filter(|name| wanted(name)).filter_map(|name| config.other(name));
    settings.chain(others).collect()
}

/// What was altered for all brokers while they ran: those settings with these names, or all.
pub fn describe_all_brokers(config: &BrokerConfig, names: Option<&[String]>) -> Vec<ConfigEntry> {
    let for_all = |mut entry: ConfigEntry| {
        entry.synonyms.retain(|(_, _, source)| *source == ConfigSource::DynamicDefaultBroker);
        let own = entry.synonyms.iter().find(|(name, ..)| *name == entry.name)?;
        (entry.value, entry.source) = (own.1.clone(), own.2);
        Some(entry)
    };
    describe_broker(config, names).into_iter().filter_map(for_all).collect()
}

/// The settings of a topic with these overrides: those with these names, or all of them.
pub fn describe_topic(
    config: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
    names: Option<&[String]>,
) -> Vec<ConfigEntry> {
    let wanted = |s: &&Setting| names.is_none_or(|names| names.iter().any(|name| name == s.name));
    let entry = |setting| config.entry_over(setting, overrides, ConfigSource::Topic);
    TOPIC.iter().filter(wanted).map(entry).collect()
}

/// The same of a group.
pub fn describe_group(
    config: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
    names: Option<&[String]>,
) -> Vec<ConfigEntry> {
    let wanted = |s: &&Setting| names.is_none_or(|names| names.iter().any(|name| name == s.name));
    let entry = |setting| config.entry_over(setting, overrides, ConfigSource::Group);
    GROUP.iter().filter(wanted).map(entry).collect()
}

impl BrokerConfig {
    fn entry(&self, setting: &'static Setting) -> ConfigEntry {
        let own = [setting.name];
        let family = FAMILIES.iter().find(|family| family.contains(&setting.name)).copied().unwrap_or(&own);
        let own_layers = self.layers(setting.name);
        let (value, source) = match own_layers.into_iter().next() {
            Some((_, value, source)) => (value, source),
            None => (None, ConfigSource::Default),
        };
        let synonyms = family.iter().flat_map(|name| self.layers(name)).collect();
        fill(setting, value, source, synonyms)
    }

    /// A key that is stored and not obeyed.
    fn other(&self, name: &str) -> Option<ConfigEntry> {
        let layers = self.layers(name);
        let (_, value, source) = layers.first()?.clone();
        let is_sensitive = dynamic::is_sensitive(name);
        let shown = |value: Option<String>| value.filter(|_| !is_sensitive);
        Some(ConfigEntry {
            name: name.to_owned(),
            value: shown(value),
            source,
            config_type: dynamic::config_type(name).map_or(UNKNOWN_TYPE, |kind| kind as i8),
            is_sensitive,
            read_only: dynamic::is_read_only(name),
            documentation: "Stored, no effect: this broker does not know it.",
            synonyms: layers.into_iter().map(|(name, value, source)| (name, shown(value), source)).collect(),
        })
    }

    /// A setting that follows the broker's until it is overridden.
    fn entry_over(
        &self,
        setting: &'static Setting,
        overrides: &BTreeMap<String, String>,
        own: ConfigSource,
    ) -> ConfigEntry {
        let mut synonyms: Vec<_> = setting.follows().iter().flat_map(|name| self.layers(name)).collect();
        let inherited = synonyms.first().map_or(ConfigSource::Default, |(_, _, source)| *source);
        if setting.follows().is_empty() {
            let default = setting.default().map(str::to_owned);
            synonyms.push((setting.name.to_owned(), default, ConfigSource::Default));
        }
        let (value, source) = match overrides.get(setting.name) {
            Some(text) => {
                synonyms.insert(0, (setting.name.to_owned(), Some(text.clone()), own));
                (text.clone(), own)
            }
            None => (self.topic_default(setting), inherited),
        };
        fill(setting, Some(value), source, synonyms)
    }

    /// The values of one broker setting, the strongest first; none if there is only a default of null.
    fn layers(&self, name: &str) -> Vec<(String, Option<String>, ConfigSource)> {
        let given = self.given.all(name).iter().map(|(value, origin)| (value.clone(), origin.source()));
        let default = broker_setting(name).and_then(Setting::default);
        given
            .chain(default.map(|text| (text.to_owned(), ConfigSource::Default)))
            .map(|(value, source)| (name.to_owned(), Some(value), source))
            .collect()
    }
}

fn fill(
    setting: &'static Setting,
    value: Option<String>,
    source: ConfigSource,
    synonyms: Vec<(String, Option<String>, ConfigSource)>,
) -> ConfigEntry {
    let is_sensitive = setting.config_type == ConfigType::Password;
    let shown = |value: Option<String>| value.filter(|_| !is_sensitive);
    ConfigEntry {
        name: setting.name.to_owned(),
        value: shown(value),
        source,
        config_type: setting.config_type as i8,
        is_sensitive,
        read_only: !setting.is_live(),
        documentation: setting.words,
        synonyms: synonyms.into_iter().map(|(name, value, source)| (name, shown(value), source)).collect(),
    }
}
