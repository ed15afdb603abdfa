//! AlterConfigs and IncrementalAlterConfigs: from what is set on a topic or a broker now, and what somebody
//! wants changed, to what is set on it then. Pure.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::others::why_ignored;
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
    let next = altered(now, wanted, |name| topic_setting(name).map(|setting| (setting, text(setting))))?;
    validate_topic_configs(broker, &next).map_err(|(_, why)| why)?;
    Ok(next)
}

/// What is altered on a broker or on all of them becomes what. `start` is the configuration
/// that this broker was started with. The error is for the client.
pub fn alter_broker(
    start: &BrokerConfig,
    now: &Configs,
    wanted: Vec<(String, Alteration)>,
) -> Result<Configs, String> {
    let text =
        |setting: &'static Setting| start.given.all(setting.name).first().map(|(value, _)| value.clone());
    let default = |setting: &'static Setting| setting.default().unwrap_or_default().to_owned();
    let find = |name: &str| {
        broker_setting(name).map(|setting| (setting, text(setting).unwrap_or_else(|| default(setting))))
    };
    let next = altered(now, wanted, find)?;
    for (name, value) in &next {
        match broker_setting(name) {
            // To be absent is for the file alone: a client says so by deleting.
            Some(setting) if setting.is_live() && setting.nullable && value.trim().is_empty() => {
                return Err(wrong(name, value, "a value; to have none, delete it"));
            }
            Some(setting) if setting.is_live() => {
                setting.check(value).map_err(|wanted| wrong(name, value, &wanted))?;
            }
            Some(_) => {
                return Err(format!(
                    "{name} cannot be altered while the broker runs: it is read once, at start"
                ));
            }
            None => return Err(no_setting(name)),
        }
    }
    Ok(next)
}

fn no_setting(name: &str) -> String {
    match why_ignored(name) {
        Some(why) => format!("{name} would have no effect: {why}"),
        None => format!("unknown broker config {name}"),
    }
}

pub(super) fn wrong(name: &str, value: &str, wanted: &str) -> String {
    format!("invalid value {value} for configuration {name}: must be {wanted}")
}

/// Applies the alterations one after the other. `find` gives the setting of a name, and the value that it has
/// as long as it is not set here: lists are appended to that.
pub(super) fn altered(
    now: &Configs,
    wanted: Vec<(String, Alteration)>,
    find: impl Fn(&str) -> Option<(&'static Setting, String)>,
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
        let list = find(&name).filter(|(setting, _)| setting.config_type == ConfigType::List);
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
        let start = BrokerConfig::default();
        let broker = |name: &str, value: &str| {
            let set = vec![(name.to_owned(), Alteration::Set(value.to_owned()))];
            alter_broker(&start, &Configs::new(), set)
        };
        assert!(broker("log.retention.ms", "5").is_ok());
        assert!(broker("log.retention.ms", " ").unwrap_err().contains("delete it"));
        assert!(broker("log.retention.ms", "x").unwrap_err().contains("log.retention.ms"));
        assert!(broker("node.id", "2").unwrap_err().contains("at start"));
        assert!(broker("num.io.threads", "2").is_ok(), "stored, as Kafka's own manual has it altered");
        assert!(broker("socket.send.buffer.bytes", "2").unwrap_err().contains("no effect"));
        assert!(broker("no.such", "2").unwrap_err().contains("unknown"));
    }
}
