//! Tests of the configuration as a whole: sources, tables, DescribeConfigs.

use std::collections::BTreeMap;
use std::io::Write;

use super::*;

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn overrides<const N: usize>(values: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs(values).into_iter().collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn every_default_is_in_its_own_range() {
    for setting in BROKER.iter().chain(TOPIC) {
        if let Some(default) = setting.default() {
            setting.check(default).unwrap_or_else(|wanted| panic!("{}={default}: {wanted}", setting.name));
        }
        assert!(setting.words.ends_with('.'), "{} is described in sentences", setting.name);
        for followed in setting.follows() {
            assert!(broker_setting(followed).is_some(), "{} follows {followed}", setting.name);
        }
    }
    let config = BrokerConfig::default();
    assert_eq!(config.listeners, [Listener::parse("PLAINTEXT://localhost:9092").unwrap()]);
    assert_eq!(config.log_dirs, [std::path::PathBuf::from("./data")]);
    assert_eq!((config.num_partitions, config.offsets_topic_num_partitions), (1, 50));
    assert!(config.queued_max_request_bytes > 0, "a quarter of memory, never unlimited");
    assert_eq!(config.braid_durability, Durability::Synced);
}

#[test]
fn names_are_unique_and_without_underscores() {
    for table in [BROKER, TOPIC] {
        let names: std::collections::BTreeSet<_> = table.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), table.len());
        assert!(
            names.iter().all(|n| n.chars().all(|c| c == '.' || c.is_ascii_lowercase() || c.is_ascii_digit()))
        );
    }
    assert!(broker_setting("log.retention.check.interval.ms").is_some());
}

#[test]
fn override_beats_environment_beats_file_beats_default() {
    let file = file(
        "num.partitions=2\nmessage.max.bytes = 22\nlog.segment.bytes:\\\n  222\n\
         # x\nbroker.rack=Z\\u00fcrich\n",
    );
    let env = pairs([("KAFKA_NUM_PARTITIONS", "3"), ("KAFKA_MESSAGE_MAX_BYTES", "33"), ("PATH", "/bin")]);
    let loaded = load(Some(file.path()), env, &pairs([("num.partitions", "4")])).unwrap();
    let config = loaded.config;
    assert_eq!((config.num_partitions, config.message_max_bytes, config.log_segment_bytes), (4, 33, 222));
    assert_eq!(config.broker_rack.as_deref(), Some("Zürich"));
    assert_eq!(config.fetch_max_bytes, 57_671_680);
    assert_eq!(loaded.notes, Vec::<String>::new());
}

#[test]
fn environment_follows_the_rule_of_container_images() {
    let key = |variable: &str| source::key_of_variable(variable);
    assert_eq!(key("KAFKA_LOG_RETENTION_HOURS").as_deref(), Some("log.retention.hours"));
    assert_eq!(key("KAFKA_BRAID_DURABILITY").as_deref(), Some("braid.durability"));
    assert_eq!(key("KAFKA_A__B___C_D").as_deref(), Some("a_b-c.d"));
    assert_eq!(key("KAFKA_CFG_NODE_ID").as_deref(), Some("node.id"));
    for other in
        ["KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_JMX_PORT", "KAFKA_", "HOME"]
    {
        assert_eq!(key(other), None, "{other}");
    }
}

#[test]
fn synonyms_count_only_where_the_real_key_is_absent() {
    let load = |values: Vec<(String, String)>| load(None, [], &values).unwrap().config;
    let config = load(pairs([("log.dir", "/a"), ("broker.id", "7")]));
    assert_eq!((config.log_dirs, config.node_id), (vec!["/a".into()], 7));
    let config = load(pairs([("log.dir", "/a"), ("log.dirs", "/b")]));
    assert_eq!(config.log_dirs, [std::path::PathBuf::from("/b")]);
    let config = load(pairs([("log.dirs", "/a, /b")]));
    assert_eq!(config.log_dirs, ["/a", "/b"].map(std::path::PathBuf::from));
}

#[test]
fn a_bad_value_is_refused_with_key_value_origin_and_advice() {
    let refuse = |key: &str, value: &str| load(None, [], &pairs([(key, value)])).unwrap_err().to_string();
    assert_eq!(refuse("num.partitions", "0"), "num.partitions=0 (from --override): must be at least 1");
    assert!(refuse("num.partitions", "many").ends_with("must be a whole number of 32 bits, at least 1"));
    assert!(refuse("num.partitions", "2147483648").contains("whole number"));
    assert!(refuse("braid.durability", "maybe").ends_with("must be one of: synced, written"));
    assert!(refuse("delete.topic.enable", "1").ends_with("must be true or false"));
    assert!(refuse("log.cleaner.min.cleanable.ratio", "1.5").ends_with("must be from 0 to 1"));
    assert!(refuse("log.cleaner.min.cleanable.ratio", "NaN").ends_with("must be a number, from 0 to 1"));
    assert!(refuse("log.cleanup.policy", "shred").contains("delete, compact"));
    assert!(refuse("log.dirs", " , ").contains("a folder"));
    assert!(refuse("listeners", "SSL://:9093").contains("SSL listeners are not possible"));
    assert!(refuse("listeners", "9092").contains("NAME://host:port"));
    assert!(refuse("http.listeners", "HTTPS://:1").contains("HTTPS is not possible"));
    assert!(refuse("advertised.listeners", "PLAINTEXT://0.0.0.0:9092").contains("names no host"));
    assert!(refuse("advertised.listeners", "OTHER://h:1").contains("listener.security.protocol.map"));
    assert!(
        refuse("group.min.session.timeout.ms", "1800001").ends_with("at most group.max.session.timeout.ms")
    );
    assert!(refuse("authorizer.class.name", "x.Y").contains("no authorizer"));
    let env = load(None, pairs([("KAFKA_NODE_ID", "-3")]), &[]).unwrap_err().to_string();
    assert_eq!(env, "node.id=-3 (from environment KAFKA_NODE_ID): must be at least 0");
    let missing = load(Some("/no/such/file".as_ref()), [], &[]).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read settings from /no/such/file: "));
    assert!(BrokerConfig::with([("num.partition", "1")]).is_err());
}

#[test]
fn what_compose_files_of_kafka_set_is_accepted() {
    let loaded = load(
        None,
        pairs([
            ("KAFKA_NODE_ID", "1"),
            ("KAFKA_PROCESS_ROLES", "broker,controller"),
            ("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093,PLAINTEXT_HOST://:29092"),
            ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://broker:9092,PLAINTEXT_HOST://localhost:29092"),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
            ),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
            ("KAFKA_NUM_PARTITION", "5"),
        ]),
        &[],
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.advertised_listeners.unwrap()[1].to_string(), "PLAINTEXT_HOST://localhost:29092");
    assert_eq!(loaded.notes.len(), 4);
    assert!(loaded.notes.iter().any(|n| n.contains("num.partition (from environment KAFKA_NUM_PARTITION)")));
    assert!(
        loaded
            .notes
            .iter()
            .any(|n| n.contains("controller.quorum.voters") && n.contains("no controller quorum"))
    );
}

#[test]
fn an_empty_list_of_http_listeners_switches_them_off() {
    let off = BrokerConfig::with([("http.listeners", "")]).unwrap();
    assert!(off.http_listeners.is_empty());
}

#[test]
fn time_keys_have_kafkas_precedence() {
    let topic = |values: &[(&str, &str)]| {
        let config = BrokerConfig::with(values.iter().copied()).unwrap();
        TopicConfig::of(&config, &BTreeMap::new())
    };
    assert_eq!(topic(&[]).retention_ms, 604_800_000);
    assert_eq!(topic(&[("log.retention.hours", "1")]).retention_ms, 3_600_000);
    assert_eq!(topic(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]).retention_ms, 120_000);
    assert_eq!(topic(&[("log.retention.ms", "5"), ("log.retention.minutes", "2")]).retention_ms, 5);
    assert_eq!(topic(&[("log.retention.hours", "-1")]).retention_ms, -1);
    assert_eq!(topic(&[("log.retention.hours", "2147483647")]).retention_ms, 2_147_483_647 * 3_600_000);
    assert_eq!(topic(&[("log.roll.hours", "2")]).segment_ms, 7_200_000);
    assert_eq!(topic(&[("log.roll.hours", "2"), ("log.roll.ms", "9")]).segment_ms, 9);
    assert_eq!(topic(&[("log.flush.scheduler.interval.ms", "8")]).flush_ms, 8);
}

#[test]
fn a_topic_follows_the_broker_until_it_overrides() {
    let broker =
        BrokerConfig::with([("message.max.bytes", "1000"), ("braid.durability", "written")]).unwrap();
    let own = overrides([
        ("cleanup.policy", "compact,delete"),
        ("segment.bytes", "2000"),
        ("retention.ms", "junk"),
    ]);
    let topic = TopicConfig::of(&broker, &own);
    assert_eq!((topic.max_message_bytes, topic.segment_bytes), (1000, 2000));
    assert_eq!(topic.cleanup_policy, CleanupPolicy { delete: true, compact: true });
    assert_eq!(topic.braid_durability, Durability::Written);
    assert_eq!(topic.retention_ms, 604_800_000, "a value that was never valid counts as absent");
    let again = overrides([("braid.durability", "synced")]);
    assert_eq!(TopicConfig::of(&broker, &again).braid_durability, Durability::Synced);
}

#[test]
fn every_broker_value_at_its_limits_is_a_topic_value() {
    for name in TOPIC.iter().flat_map(Setting::follows) {
        let setting = broker_setting(name).unwrap();
        for text in ["", " ", "-2", "-1", "0", "1", "4", "14", "2147483647", "9223372036854775807"] {
            if setting.check(text).is_ok()
                && let Ok(config) = BrokerConfig::with([(*name, text)])
            {
                for topic in TOPIC.iter().filter(|t| t.follows().contains(name)) {
                    let text = config.topic_default(topic);
                    topic.check(&text).unwrap_or_else(|e| panic!("{name} gives {}={text}: {e}", topic.name));
                }
            }
        }
    }
}

#[test]
fn wrong_topic_configs_name_the_key_and_what_would_be_right() {
    let broker = BrokerConfig::default();
    let check = |key: &str, value: &str| validate_topic_configs(&broker, &overrides([(key, value)]));
    let refuse = |key: &str, value: &str| check(key, value).unwrap_err();
    // What Apache Kafka 4.3.1 says of each.
    let throttled = "leader.replication.throttled.replicas";
    for (key, value) in [
        ("retention.ms", "-1"),
        ("retention.bytes", "-2"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", ""),
        ("compression.gzip.level", "-1"),
        ("remote.storage.enable", "FALSE"),
        (throttled, "*"),
        (throttled, "0:1,1:2"),
        (throttled, ""),
    ] {
        assert_eq!(check(key, value), Ok(()), "{key}={value}");
    }
    for (key, value) in [
        ("compression.gzip.level", "0"),
        ("cleanup.policy", "delete,,compact"),
        ("cleanup.policy", "Delete"),
        (throttled, "garbage"),
        (throttled, "*,0:1"),
    ] {
        assert!(check(key, value).is_err(), "{key}={value}");
    }
    let (key, message) = refuse("retention.ms", "-2");
    assert_eq!(key, "retention.ms");
    assert_eq!(message, "invalid value -2 for configuration retention.ms: must be at least -1");
    assert!(refuse("no.such", "1").1.contains("unknown topic config"));
    assert!(refuse("message.format.version", "3.0").1.contains("removed in Kafka 4.0"));
    assert!(refuse("remote.storage.enable", "true").1.contains("false"));
    assert!(refuse("compression.type", "brotli").1.contains("zstd"));
    let lags = overrides([("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "4")]);
    assert_eq!(validate_topic_configs(&broker, &lags).unwrap_err().0, "max.compaction.lag.ms");
    let lags = BrokerConfig::with([("log.cleaner.min.compaction.lag.ms", "5")]).unwrap();
    let short = overrides([("max.compaction.lag.ms", "4")]);
    assert!(validate_topic_configs(&lags, &short).is_err(), "the topic follows the broker's least lag");
    assert!(validate_topic_configs(&lags, &overrides([("retention.ms", "4")])).is_ok());
}

#[test]
fn describe_topic_names_the_source_and_the_synonyms() {
    let broker = BrokerConfig::with([("log.retention.hours", "2")]).unwrap();
    let names = ["retention.ms".to_owned(), "segment.bytes".to_owned(), "local.retention.ms".to_owned()];
    let entries = describe_topic(&broker, &overrides([("segment.bytes", "99")]), Some(&names));
    let get = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
    assert_eq!(entries.len(), 3);
    let retention = get("retention.ms");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("7200000"), ConfigSource::StaticBroker));
    assert_eq!((retention.config_type, retention.read_only, retention.is_sensitive), (5, false, false));
    let hours = |value: &str, source| ("log.retention.hours".to_owned(), Some(value.to_owned()), source);
    assert_eq!(
        retention.synonyms,
        [hours("2", ConfigSource::StaticBroker), hours("168", ConfigSource::Default)]
    );
    let segment = get("segment.bytes");
    assert_eq!((segment.value.as_deref(), segment.source), (Some("99"), ConfigSource::Topic));
    assert_eq!(segment.synonyms[0].0, "segment.bytes");
    assert_eq!(segment.synonyms[1].0, "log.segment.bytes");
    assert_eq!(get("local.retention.ms").source, ConfigSource::Default);
    assert_eq!(describe_topic(&broker, &BTreeMap::new(), None).len(), TOPIC.len());
}

#[test]
fn describe_broker_tells_types_nulls_and_what_can_be_altered() {
    let broker = BrokerConfig::with([("node.id", "3")]).unwrap();
    let entries = describe_broker(&broker, None);
    assert_eq!(entries.len(), BROKER.len());
    let get = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
    assert_eq!(
        (get("node.id").value.as_deref(), get("node.id").source),
        (Some("3"), ConfigSource::StaticBroker)
    );
    assert!(get("node.id").read_only && !get("message.max.bytes").read_only);
    assert_eq!(
        (get("log.retention.ms").value.as_deref(), get("log.retention.ms").source),
        (None, ConfigSource::Default)
    );
    assert_eq!(get("log.retention.ms").synonyms[0].0, "log.retention.hours");
    assert_eq!((get("broker.rack").config_type, get("delete.topic.enable").config_type), (2, 1));
    assert_eq!(
        (get("default.replication.factor").config_type, get("log.cleanup.policy").config_type),
        (4, 7)
    );
    assert_eq!(get("log.cleaner.min.cleanable.ratio").config_type, 6);
}

#[test]
fn alterations_while_running_are_stronger_and_only_for_live_settings() {
    let broker = BrokerConfig::with([("message.max.bytes", "10")]).unwrap();
    let altered = broker
        .altered(&overrides([("message.max.bytes", "20")]), &overrides([("message.max.bytes", "30")]))
        .unwrap();
    assert_eq!(altered.message_max_bytes, 30);
    let entry = describe_broker(&altered, Some(&["message.max.bytes".to_owned()])).remove(0);
    let sources: Vec<_> = entry.synonyms.iter().map(|(_, _, source)| *source as i8).collect();
    assert_eq!((entry.source, sources), (ConfigSource::DynamicBroker, vec![2, 3, 4, 5]));
    let back = altered.altered(&BTreeMap::new(), &BTreeMap::new()).unwrap();
    assert_eq!(back, broker);
    assert!(broker.altered(&overrides([("node.id", "4")]), &BTreeMap::new()).is_err());
    assert!(broker.altered(&overrides([("message.max.bytes", "x")]), &BTreeMap::new()).is_err());
}

#[test]
fn settings_text_has_a_row_for_each_setting() {
    let text = settings_text();
    for setting in BROKER.iter().chain(TOPIC) {
        assert!(text.contains(&format!("\n{}\n    default: ", setting.name)), "{}", setting.name);
    }
    assert!(text.contains("default: synced; synced, written\n"));
    assert!(
        text.contains(
            "default: as log.retention.ms, log.retention.minutes, log.retention.hours; at least -1\n"
        )
    );
}
