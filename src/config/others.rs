//! Keys that people carry over from Kafka and that this broker does not obey: what is said about each.

/// What is said about a key that is accepted and has no effect; `*` at the end of a row stands for any rest.
const IGNORED: &[(&str, &str)] = &[
    ("process.roles", QUORUM),
    ("controller.*", QUORUM),
    ("metadata.*", QUORUM),
    ("initial.broker.registration.timeout.ms", QUORUM),
    ("broker.heartbeat.interval.ms", QUORUM),
    ("broker.session.timeout.ms", QUORUM),
    ("early.start.listeners", QUORUM),
    ("zookeeper.*", "there is no ZooKeeper"),
    ("inter.broker.*", ALONE),
    ("security.inter.broker.protocol", ALONE),
    ("control.plane.listener.name", ALONE),
    ("replica.*", ALONE),
    ("num.replica.*", ALONE),
    ("leader.*", ALONE),
    ("follower.*", ALONE),
    ("auto.leader.rebalance.enable", ALONE),
    ("controlled.shutdown.*", ALONE),
    ("offsets.topic.replication.factor", COPIES),
    ("transaction.state.log.replication.factor", COPIES),
    ("transaction.state.log.min.isr", COPIES),
    ("share.*", "there are no share groups in this version"),
    ("group.share.*", "there are no share groups in this version"),
    ("group.streams.*", "there are no streams groups in this version"),
    ("group.consumer.assignors", "the assignors are always uniform and range"),
    ("group.coordinator.*", "the group coordinator needs no tuning"),
    ("num.replica.alter.log.dirs.threads", THREADS),
    ("socket.send.buffer.bytes", "the system sizes socket buffers"),
    ("socket.receive.buffer.bytes", "the system sizes socket buffers"),
    ("request.timeout.ms", ALONE),
    ("max.connections.per.ip.overrides", "one limit holds for all addresses"),
    ("max.connection.creation.rate", "new connections are limited by their number, not their rate"),
    ("connection.failed.authentication.delay.ms", "there is no authentication in this version"),
    ("offsets.topic.compression.codec", "offsets are stored uncompressed"),
    ("offsets.load.buffer.size", "the broker sizes its own buffers"),
    ("transaction.state.log.segment.bytes", "the broker sizes that topic itself"),
    ("transaction.state.log.load.buffer.size", "the broker sizes its own buffers"),
    ("transaction.remove.expired.transaction.cleanup.interval.ms", "they are removed as they expire"),
    ("log.cleaner.*", "compaction needs no such tuning"),
    ("log.retention.*", "no such setting is needed"),
    ("log.message.downconversion.enable", "removed in Kafka 4.0"),
    ("log.message.format.version", "removed in Kafka 4.0"),
    ("inter.broker.protocol.version", "removed in Kafka 4.0"),
    ("log.message.timestamp.difference.max.ms", "removed in Kafka 4.0"),
    ("remote.*", "there is no tiered storage in this version"),
    ("log.local.*", "there is no tiered storage in this version"),
    ("metric.*", METRICS),
    ("metrics.*", METRICS),
    ("kafka.metrics.*", METRICS),
    ("auto.include.jmx.reporter", METRICS),
    ("telemetry.*", METRICS),
    ("client.quota.*", "there are no quotas in this version"),
    ("quota.*", "there are no quotas in this version"),
    ("ssl.*", SECURITY),
    ("sasl.*", SECURITY),
    ("security.*", SECURITY),
    ("listener.name.*", SECURITY),
    ("principal.*", SECURITY),
    ("super.users", SECURITY),
    ("allow.everyone.if.no.acl.found", SECURITY),
    ("delegation.token.*", SECURITY),
    ("password.encoder.*", SECURITY),
    ("confluent.*", "it belongs to Confluent's distribution"),
];

const QUORUM: &str = "there is no controller quorum: this broker keeps its own metadata";
const ALONE: &str = "there is one broker, with nobody to replicate to";
const COPIES: &str = "there is one broker, so there is one copy";
const THREADS: &str = "there is one thread for each processor";
const METRICS: &str = "metrics are at /metrics of http.listeners";
const SECURITY: &str = "only PLAINTEXT listeners are possible in this version";

/// Why a key is accepted and has no effect; nothing if the key is not known at all.
pub(super) fn why_ignored(key: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => key == pattern,
    };
    IGNORED.iter().find(|(pattern, _)| matches(pattern)).map(|(_, why)| *why)
}

/// What would be right instead of a key that cannot be ignored, because that would open what its owner
/// closed.
pub(super) fn why_refused(key: &str, value: &str) -> Option<&'static str> {
    let closed = key == "authorizer.class.name" && !value.trim().is_empty();
    closed.then_some("left out: there is no authorizer in this version, and every client may do everything")
}

/// Variables of the environment that begin like settings and are meant for Kafka's scripts, or come from
/// Kubernetes.
pub(super) fn is_no_setting(variable: &str) -> bool {
    const EXACT: &[&str] = &[
        "KAFKA_OPTS",
        "KAFKA_HEAP_OPTS",
        "KAFKA_JVM_PERFORMANCE_OPTS",
        "KAFKA_GC_LOG_OPTS",
        "KAFKA_VERSION",
        "KAFKA_HOME",
        "KAFKA_DEBUG",
        "KAFKA_MODE",
        "KAFKA_USER",
        "KAFKA_PORT",
        "KAFKA_CLUSTER_ID",
        "KAFKA_BASE_DIR",
        "KAFKA_VOLUME_DIR",
    ];
    const START: &[&str] =
        &["KAFKA_LOG4J_", "KAFKA_JMX_", "KAFKA_TOOLS_", "KAFKA_KRAFT_", "KAFKA_PORT_", "KAFKA_SERVICE_"];
    EXACT.contains(&variable) || START.iter().any(|start| variable.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::super::BROKER;
    use super::*;

    #[test]
    fn keys_of_other_processes_are_known_and_strangers_are_not() {
        for key in ["process.roles", "controller.quorum.voters", "zookeeper.connect", "request.timeout.ms"] {
            assert!(why_ignored(key).is_some(), "{key}");
        }
        assert_eq!(why_ignored("num.partition"), None);
        assert_eq!(why_ignored("process.roles.x"), None);
        assert!(why_refused("authorizer.class.name", "x.StandardAuthorizer").is_some());
        assert!(why_refused("authorizer.class.name", "").is_none());
    }

    #[test]
    fn an_exact_row_never_names_a_setting_that_is_obeyed() {
        for (pattern, _) in IGNORED {
            assert!(!BROKER.iter().any(|s| s.name == *pattern), "{pattern} is both obeyed and ignored");
        }
    }
}
