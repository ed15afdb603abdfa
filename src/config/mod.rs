//! Every setting once: name, type, default, range, words. Parsing, checks, `--settings`, DescribeConfigs and
//! the typed structs are all read from the tables [`BROKER`], [`TOPIC`] and
//! [`GROUP`].
//!
//! Not done: settings of TLS, SASL, quotas and authorizers; the types `Class` and `Password` have no settings
//! yet.

mod alter; // AlterConfigs
mod broker; // the broker's table
mod describe; // DescribeConfigs
mod dynamic; // what is stored for Kafka's sake and not obeyed
mod group; // the group's table
mod listener; // NAME://host:port
mod memory; // how much memory there is, for limits that are a part of it
mod others; // keys of other processes, said to be ignored
mod setting; // what a setting is, and the macro of the tables
mod source; // command line, environment, file, defaults
mod topic; // the topic's table
mod value; // texts to Rust types

pub use alter::{Alteration, Configs, alter_broker, alter_topic};
pub use broker::{BROKER, BrokerConfig};
pub use describe::{
    ConfigEntry, ConfigSource, describe_all_brokers, describe_broker, describe_group, describe_topic,
};
pub use dynamic::is_sensitive;
pub use group::{GROUP, GroupSettings, alter_group};
pub use listener::{Listener, ProtocolMap, SecurityProtocol};
pub use setting::{Scope, Setting};
pub use source::{ConfigError, Given, Loaded, Origin, broker_setting, load};
pub use topic::{TOPIC, TopicConfig, topic_setting, validate_topic_configs};
pub use value::{
    CleanupPolicy, CompressionType, ConfigType, Durability, LogFormat, MigrationPolicy, TimestampType, Valid,
    Value,
};

/// The settings of all tables as text, for `braid --settings`.
pub fn settings_text() -> String {
    let mut out = String::from("Settings of the broker\n\n");
    for setting in BROKER {
        out.push_str(&row(setting));
    }
    out.push_str("Settings of a topic (kafka-configs, or when it is created)\n\n");
    for setting in TOPIC {
        out.push_str(&row(setting));
    }
    out.push_str("Settings of a group (kafka-configs --entity-type groups)\n\n");
    for setting in GROUP {
        out.push_str(&row(setting));
    }
    out
}

fn row(setting: &Setting) -> String {
    let default = match setting.follows() {
        [] => setting.default().unwrap_or("not set").to_owned(),
        chain => format!("as {}", chain.join(", ")),
    };
    let default = if default.is_empty() { "empty".to_owned() } else { default };
    let range = setting.range();
    let range = if range.is_empty() { range } else { format!("; {range}") };
    format!("{}\n    default: {default}{range}\n    {}\n\n", setting.name, setting.words)
}

#[cfg(test)]
mod tests;
