//! A group's settings, each once. They follow settings of the broker until a group overrides them.
//!
//! Not done: settings of share groups and streams groups, and of the assignors: there is none of them here.

use std::collections::BTreeMap;

use super::alter::{Alteration, Configs, altered, wrong};
use super::broker::BrokerConfig;
use super::setting::Scope::Like;
use super::setting::{Setting, dotted, settings};
use super::value::Valid::AtLeast;
use super::value::Value;

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

settings! {
/// How one KIP-848 group is set up: its own overrides over the broker's settings.
GroupSettings, GROUP;

consumer_session_timeout_ms: i32, Like(&["group.consumer.session.timeout.ms"]), AtLeast(1),
    "A member that is silent for this long is out.";
consumer_heartbeat_interval_ms: i32, Like(&["group.consumer.heartbeat.interval.ms"]), AtLeast(1),
    "How often members are told to beat.";
}

impl GroupSettings {
    /// The settings of a group with these overrides. What cannot be read counts as absent.
    pub fn of(broker: &BrokerConfig, overrides: &Configs) -> Self {
        let text = |setting: &'static Setting| match overrides.get(setting.name) {
            Some(text) if setting.check(text).is_ok() => text.clone(),
            _ => broker.topic_default(setting),
        };
        Self::read(text).expect("what the broker's settings allow, a group's allow too")
    }
}

fn group_setting(name: &str) -> Option<&'static Setting> {
    GROUP.iter().find(|setting| setting.name == name)
}

/// What a group's configs become. The error is for the client, to go with INVALID_CONFIG (40).
pub fn alter_group(
    broker: &BrokerConfig,
    now: &Configs,
    wanted: Vec<(String, Alteration)>,
) -> Result<Configs, String> {
    let text = |setting: &'static Setting| broker.topic_default(setting);
    let next =
        altered(now, wanted, |name| group_setting(name).map(|setting| (setting.config_type, text(setting))))?;
    for (name, value) in &next {
        let setting = group_setting(name).ok_or_else(|| format!("Unknown group config name: {name}"))?;
        setting.check(value).map_err(|wanted| wrong(name, value, &wanted))?;
    }
    bounds(broker, &next)?;
    Ok(next)
}

/// The broker sets the bounds of what a group may set.
fn bounds(broker: &BrokerConfig, configs: &BTreeMap<String, String>) -> Result<(), String> {
    let settings = GroupSettings::of(broker, configs);
    let (session, heartbeat) =
        (settings.consumer_session_timeout_ms, settings.consumer_heartbeat_interval_ms);
    let rows = [
        (
            SESSION,
            session,
            ("group.consumer.min.session.timeout.ms", broker.group_consumer_min_session_timeout_ms),
            ("group.consumer.max.session.timeout.ms", broker.group_consumer_max_session_timeout_ms),
        ),
        (
            HEARTBEAT,
            heartbeat,
            ("group.consumer.min.heartbeat.interval.ms", broker.group_consumer_min_heartbeat_interval_ms),
            ("group.consumer.max.heartbeat.interval.ms", broker.group_consumer_max_heartbeat_interval_ms),
        ),
    ];
    for (name, value, (least_name, least), (most_name, most)) in rows {
        if !configs.contains_key(name) {
            continue;
        }
        if value < least {
            return Err(format!(
                "{name} must be greater than or equal to {least_name}: {value} is less than {least}"
            ));
        }
        if value > most {
            return Err(format!(
                "{name} must be less than or equal to {most_name}: {value} is more than {most}"
            ));
        }
    }
    if session <= heartbeat {
        return Err(format!(
            "{SESSION} must be greater than {HEARTBEAT}: {session} is not more than {heartbeat}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(broker: &BrokerConfig, pairs: &[(&str, &str)]) -> Result<Configs, String> {
        let set = |(name, value): &(&str, &str)| ((*name).to_owned(), Alteration::Set((*value).to_owned()));
        alter_group(broker, &Configs::new(), pairs.iter().map(set).collect())
    }

    #[test]
    fn a_group_keeps_to_the_bounds_of_the_broker() {
        let broker = BrokerConfig::default();
        let configs = set(&broker, &[(SESSION, "50000"), (HEARTBEAT, "10000")]).unwrap();
        let settings = GroupSettings::of(&broker, &configs);
        assert_eq!(
            (settings.consumer_session_timeout_ms, settings.consumer_heartbeat_interval_ms),
            (50_000, 10_000)
        );
        let defaults = GroupSettings::of(&broker, &Configs::new());
        assert_eq!(
            (defaults.consumer_session_timeout_ms, defaults.consumer_heartbeat_interval_ms),
            (45_000, 5_000)
        );
        let why = |name: &str, value: &str| set(&broker, &[(name, value)]).unwrap_err();
        assert!(why(SESSION, "44999").contains("44999") && why(SESSION, "44999").contains("min.session"));
        assert!(why(SESSION, "60001").contains("group.consumer.max.session.timeout.ms"));
        assert!(why(HEARTBEAT, "4999").contains("group.consumer.min.heartbeat.interval.ms"));
        assert!(why(HEARTBEAT, "15001").contains("group.consumer.max.heartbeat.interval.ms"));
        assert!(why(SESSION, "long").contains("long"));
        assert_eq!(
            why("share.session.timeout.ms", "1"),
            "Unknown group config name: share.session.timeout.ms"
        );
        let wide = [
            ("group.consumer.min.session.timeout.ms", "1"),
            ("group.consumer.min.heartbeat.interval.ms", "1"),
        ];
        let wide = BrokerConfig::with(wide.map(|(k, v)| (k.to_owned(), v.to_owned()))).unwrap();
        assert!(set(&wide, &[(SESSION, "100")]).unwrap_err().contains("greater than consumer.heartbeat"));
        assert!(set(&wide, &[(SESSION, "100"), (HEARTBEAT, "50")]).is_ok());
    }
}
