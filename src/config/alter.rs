//! AlterConfigs and IncrementalAlterConfigs: from what is set on a topic or a broker now, and what somebody
//! wants changed, to what is set on it then. Pure.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::dynamic;
use super::setting::Setting;
use super::source::broker_setting;
use super::topic::{topic_setting, validate_topic_configs};
use super::value::{ConfigType, parts};

/// What is set on one resource: values by Kafka's names.
pub type Configs = BTreeMap<String, String>;

/// What shall happen to one setting (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// It gets this value.
    Set(String),
    /// It goes back to its default.
    Delete,
    /// The list gets these elements, unless it has them.
    Append(String),
    /// The list loses these elements.
    Subtract(String),
}

/// What a topic's configs become. The error is for the client, to go with INVALID_CONFIG (40).
pub fn alter_topic(
    broker: &BrokerConfig,
    now: &Configs,
    wanted: Vec<(String, Alteration)>,
) -> Result<Configs, String> {
    let text = |setting: &'static Setting| broker.topic_default(setting);
    let next =
        altered(now, wanted, |name| topic_setting(name).map(|setting| (setting.config_type, text(setting))))?;
    validate_topic_configs(broker, &next).map_err(|(_, why)| why)?;
    Ok(next)
}

/// What the configs of one broker, or else of all of them, become. `start` is the configuration that this
/// broker was started with. As in Kafka, keys that are not obeyed are stored too, see `dynamic`. The error is
/// for the client.
pub fn alter_broker(
    start: &BrokerConfig,
    now: &Configs,
    wanted: Vec<(String, Alteration)>,
    per_broker: bool,
) -> Result<Configs, String> {
    let text =
        |setting: &'static Setting| start.given.all(setting.name).first().map(|(value, _)| value.clone());
    let default = |setting: &'static Setting| setting.default().unwrap_or_default().to_owned();
    let find = |name: &str| match broker_setting(name) {
        Some(setting) => Some((setting.config_type, text(setting).unwrap_or_else(|| default(setting)))),
        None => dynamic::config_type(name).map(|kind| (kind, String::new())),
    };
    let next = altered(now, wanted, find)?;
    dynamic::check(next.iter(), per_broker)?;
    for (name, value) in &next {
        let Some(setting) = broker_setting(name) else { continue };
        // Only the file can say that there is none: a client deletes.
        if setting.nullable && value.trim().is_empty() {
            return Err(wrong(name, value, "a value; to have none, delete it"));
        }
        setting.check(value).map_err(|wanted| wrong(name, value, &wanted))?;
    }
    Ok(next)
}

pub(super) fn wrong(name: &str, value: &str, wanted: &str) -> String {
    format!("invalid value {value} for configuration {name}: must be {wanted}")
}

/// Applies the alterations one after the other. `find` gives the type of a name, and the value that it has
/// as long as it is not set here: lists are appended to that.
pub(super) fn altered(
    now: &Configs,
    wanted: Vec<(String, Alteration)>,
    find: impl Fn(&str) -> Option<(ConfigType, String)>,
) -> Result<Configs, String> {
    let mut next = now.clone();
    for (name, alteration) in wanted {
        let (more, appends) = match alteration {
            Alteration::Set(value) => {
                next.insert(name, value);
                continue;
            }
            Alteration::Delete => {
                next.remove(&name);
                continue;
            }
            Alteration::Append(more) => (more, true),
            Alteration::Subtract(less) => (less, false),
        };
        let list = find(&name).filter(|(kind, _)| *kind == ConfigType::List);
        let Some((_, default)) = list else {
            let verb = if appends { "append to" } else { "subtract from" };
            return Err(format!("cannot {verb} {name}: it is not a list"));
        };
        let old = next.get(&name).unwrap_or(&default);
        let (old, more): (Vec<&str>, Vec<&str>) = (parts(old).collect(), parts(&more).collect());
        let kept = old.iter().filter(|element| appends || !more.contains(element));
        let added = more.iter().filter(|element| appends && !old.contains(element));
        let list: Vec<&str> = kept.chain(added).copied().collect();
        next.insert(name, list.join(","));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn topic(now: &[(&str, &str)], name: &str, alteration: Alteration) -> Result<Configs, String> {
        alter_topic(&BrokerConfig::default(), &configs(now), vec![(name.to_owned(), alteration)])
    }

    #[test]
    fn what_is_set_replaces_and_what_is_deleted_is_gone() {
        let set = topic(&[("segment.ms", "1")], "retention.ms", Alteration::Set("-1".into()));
        assert_eq!(set, Ok(configs(&[("segment.ms", "1"), ("retention.ms", "-1")])));
        assert_eq!(topic(&[("segment.ms", "1")], "segment.ms", Alteration::Delete), Ok(Configs::new()));
        assert_eq!(topic(&[], "segment.ms", Alteration::Delete), Ok(Configs::new()));
    }

    #[test]
    fn lists_grow_and_shrink_from_what_holds_now() {
        let append =
            |now: &[(&str, &str)]| topic(now, "cleanup.policy", Alteration::Append("compact".into()));
        let both = Ok(configs(&[("cleanup.policy", "delete,compact")]));
        assert_eq!(append(&[]), both, "the default counts");
        assert_eq!(append(&[("cleanup.policy", "delete,compact")]), both, "nothing twice");
        let less = Alteration::Subtract("delete".into());
        let now = [("cleanup.policy", "delete,compact")];
        assert_eq!(
            topic(&now, "cleanup.policy", less.clone()),
            Ok(configs(&[("cleanup.policy", "compact")]))
        );
        let none = Ok(configs(&[("cleanup.policy", "")]));
        assert_eq!(topic(&[], "cleanup.policy", less), none, "neither deleted nor compacted (KIP-1161)");
        let why = topic(&[], "retention.ms", Alteration::Append("1".into())).unwrap_err();
        assert!(why.contains("retention.ms") && why.contains("not a list"), "{why}");
    }

    #[test]
    fn a_refusal_names_the_setting_the_value_and_what_would_be_right() {
        let why = topic(&[], "retention.ms", Alteration::Set("soon".into())).unwrap_err();
        assert!(why.contains("retention.ms") && why.contains("soon") && why.contains("64 bits"), "{why}");
        assert!(broker("log.retention.ms", "5").is_ok());
        assert!(broker("log.retention.ms", " ").unwrap_err().contains("delete it"));
        assert!(broker("log.retention.ms", "x").unwrap_err().contains("log.retention.ms"));
    }

    fn altered_broker(set: &[(&str, &str)], per_broker: bool) -> Result<Configs, String> {
        let wanted = set.iter().map(|(k, v)| ((*k).to_owned(), Alteration::Set((*v).to_owned())));
        alter_broker(&BrokerConfig::default(), &Configs::new(), wanted.collect(), per_broker)
    }

    fn broker(name: &str, value: &str) -> Result<Configs, String> {
        altered_broker(&[(name, value)], true)
    }

    // A tool set log.retention.ms beside a key of a plugin: the whole was refused.
    #[test]
    fn a_key_that_kafka_stores_is_stored_beside_others() {
        for (name, value) in [
            ("my.plugin.key", "x"),
            ("num.io.threads", "2"),
            ("max.connection.creation.rate", "100"),
            ("metric.reporters", "a.B"),
            ("listener.name.internal.ssl.keystore.location", "/x"),
            ("ssl.cipher.suites", "x"),
        ] {
            let both = [("log.retention.ms", "5"), (name, value)];
            assert_eq!(altered_broker(&both, true), Ok(configs(&both)), "{name}");
        }
        assert!(broker("max.connection.creation.rate", "many").is_err(), "its type is known");
        assert!(broker(&"x".repeat(2_000), "1").is_err());
        let many: Vec<String> = (0..2_000).map(|n| format!("key-{n}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(altered_broker(&many, true).is_err());
    }

    #[test]
    fn what_kafka_reads_once_or_only_of_one_broker_is_refused_in_its_words() {
        let why = altered_broker(&[("node.id", "2"), ("socket.send.buffer.bytes", "2")], true);
        let words = "Cannot update these configs dynamically: [node.id, socket.send.buffer.bytes]";
        assert_eq!(why, Err(words.to_owned()));
        let why = altered_broker(&[("sasl.enabled.mechanisms", "PLAIN")], false).unwrap_err();
        let words = "Cannot update these configs at default cluster level, broker id must be specified: \
                     [sasl.enabled.mechanisms]";
        assert_eq!(why, words);
        assert!(broker("sasl.enabled.mechanisms", "PLAIN").is_ok());
        assert!(broker("ssl.keystore.location", "/x").unwrap_err().contains("using the listener prefix"));
    }

    #[test]
    fn lists_that_are_only_stored_grow_too() {
        let append = vec![("metric.reporters".to_owned(), Alteration::Append("b".to_owned()))];
        let now = configs(&[("metric.reporters", "a")]);
        let next = alter_broker(&BrokerConfig::default(), &now, append, true);
        assert_eq!(next, Ok(configs(&[("metric.reporters", "a,b")])));
    }
}
