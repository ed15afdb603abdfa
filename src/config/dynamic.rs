//! Settings of Kafka's brokers that this one does not obey, as far as they can be altered while a broker
//! runs (KIP-226). Like Kafka it stores and shows them, so that a tool that sets one of them beside others
//! is not refused; and like Kafka it stores keys that nobody knows, for plugins, and keeps their values to
//! itself. What Kafka refuses is refused in its words.

use super::setting::Setting;
use super::source::broker_setting;
use super::value::{ConfigType, Value};

/// The most such keys on one resource, and the longest: they are kept in memory and in the metadata log.
const KEYS_MAX: usize = 1_000;
const KEY_BYTES_MAX: usize = 1_000;
const VALUE_BYTES_MAX: usize = 64 << 10;

/// What can be altered while a broker runs, by type.
const DYNAMIC: &[(ConfigType, &str)] = &[
    (
        ConfigType::Boolean,
        "\
            follower.fetch.last.tiered.offset.enable \
        ",
    ),
    (
        ConfigType::Class,
        "\
            principal.builder.class ssl.engine.factory.class \
        ",
    ),
    (
        ConfigType::Double,
        "\
            sasl.kerberos.ticket.renew.jitter sasl.kerberos.ticket.renew.window.factor \
            sasl.login.refresh.window.factor sasl.login.refresh.window.jitter \
        ",
    ),
    (
        ConfigType::Int,
        "\
            group.consumer.assignment.interval.ms group.coordinator.cached.buffer.max.bytes \
            group.share.assignment.interval.ms group.streams.assignment.interval.ms \
            max.connection.creation.rate \
            remote.fetch.max.wait.ms remote.log.manager.copier.thread.pool.size \
            remote.log.manager.expiration.thread.pool.size remote.log.manager.follower.thread.pool.size \
            remote.log.reader.threads share.coordinator.cached.buffer.max.bytes \
        ",
    ),
    (
        ConfigType::List,
        "\
            config.providers cordoned.log.dirs metric.reporters sasl.enabled.mechanisms \
            sasl.kerberos.principal.to.local.rules ssl.cipher.suites ssl.enabled.protocols \
        ",
    ),
    (
        ConfigType::Long,
        "\
            log.local.retention.bytes log.local.retention.ms remote.list.offsets.request.timeout.ms \
            remote.log.index.file.cache.total.size.bytes remote.log.manager.copy.max.bytes.per.second \
            remote.log.manager.fetch.max.bytes.per.second sasl.kerberos.min.time.before.relogin \
        ",
    ),
    (
        ConfigType::Password,
        "\
            sasl.jaas.config ssl.key.password ssl.keystore.certificate.chain ssl.keystore.key \
            ssl.keystore.password ssl.truststore.certificates ssl.truststore.password \
        ",
    ),
    (
        ConfigType::Short,
        "\
            sasl.login.refresh.buffer.seconds sasl.login.refresh.min.period.seconds \
        ",
    ),
    (
        ConfigType::String,
        "\
            max.connections.per.ip.overrides sasl.kerberos.kinit.cmd sasl.kerberos.service.name \
            sasl.mechanism.inter.broker.protocol ssl.client.auth ssl.endpoint.identification.algorithm \
            ssl.keymanager.algorithm ssl.keystore.location ssl.keystore.type ssl.protocol ssl.provider \
            ssl.secure.random.implementation ssl.trustmanager.algorithm ssl.truststore.location \
            ssl.truststore.type \
        ",
    ),
];

/// What can only be altered on one broker at a time, as is everything that begins with [`LISTENER`].
const PER_BROKER: &str = "\
    cordoned.log.dirs listener.security.protocol.map listeners principal.builder.class \
    sasl.enabled.mechanisms sasl.jaas.config sasl.kerberos.kinit.cmd \
    sasl.kerberos.min.time.before.relogin sasl.kerberos.principal.to.local.rules \
    sasl.kerberos.service.name sasl.kerberos.ticket.renew.jitter \
    sasl.kerberos.ticket.renew.window.factor sasl.login.refresh.buffer.seconds \
    sasl.login.refresh.min.period.seconds sasl.login.refresh.window.factor \
    sasl.login.refresh.window.jitter sasl.mechanism.inter.broker.protocol ssl.cipher.suites \
    ssl.client.auth ssl.enabled.protocols ssl.endpoint.identification.algorithm ssl.engine.factory.class \
    ssl.key.password ssl.keymanager.algorithm ssl.keystore.certificate.chain ssl.keystore.key \
    ssl.keystore.location ssl.keystore.password ssl.keystore.type ssl.protocol ssl.provider \
    ssl.secure.random.implementation ssl.trustmanager.algorithm ssl.truststore.certificates \
    ssl.truststore.location ssl.truststore.password ssl.truststore.type \
";

/// What can only be altered on one listener at a time.
const PER_LISTENER: &str = "\
    ssl.key.password ssl.keystore.certificate.chain ssl.keystore.key ssl.keystore.location \
    ssl.keystore.password ssl.keystore.type ssl.truststore.certificates ssl.truststore.location \
    ssl.truststore.password ssl.truststore.type \
";

const LISTENER: &str = "listener.name.";

/// What Kafka reads at its start only, except for the settings that are known here.
const READ_ONLY: &str = "\
    add.partitions.to.txn.retry.backoff.max.ms add.partitions.to.txn.retry.backoff.ms \
    alter.config.policy.class.name alter.log.dirs.replication.quota.window.num \
    alter.log.dirs.replication.quota.window.size.seconds authorizer.class.name \
    auto.leader.rebalance.enable broker.heartbeat.interval.ms broker.id broker.session.timeout.ms \
    client.quota.callback.class connection.failed.authentication.delay.ms connections.max.reauth.ms \
    controlled.shutdown.enable controller.performance.always.log.threshold.ms \
    controller.performance.sample.period.ms controller.quorum.append.linger.ms \
    controller.quorum.auto.join.enable controller.quorum.bootstrap.servers \
    controller.quorum.election.backoff.max.ms controller.quorum.election.timeout.ms \
    controller.quorum.fetch.max.bytes controller.quorum.fetch.snapshot.max.bytes \
    controller.quorum.fetch.timeout.ms controller.quorum.request.timeout.ms \
    controller.quorum.retry.backoff.ms controller.quorum.voters controller.quota.window.num \
    controller.quota.window.size.seconds controller.socket.timeout.ms create.topic.policy.class.name \
    delegation.token.expiry.check.interval.ms delegation.token.expiry.time.ms \
    delegation.token.max.lifetime.ms delegation.token.secret.key \
    delete.records.purgatory.purge.interval.requests early.start.listeners \
    fetch.purgatory.purge.interval.requests group.consumer.assignors \
    group.consumer.max.assignment.interval.ms group.consumer.min.assignment.interval.ms \
    group.consumer.regex.refresh.interval.ms group.coordinator.append.linger.ms \
    group.coordinator.background.threads group.coordinator.rebalance.protocols group.coordinator.threads \
    group.share.assignors group.share.delivery.count.limit group.share.heartbeat.interval.ms \
    group.share.initialize.retry.interval.ms group.share.max.assignment.interval.ms \
    group.share.max.delivery.count.limit group.share.max.heartbeat.interval.ms \
    group.share.max.partition.max.record.locks group.share.max.record.lock.duration.ms \
    group.share.max.session.timeout.ms group.share.max.share.sessions group.share.max.size \
    group.share.min.assignment.interval.ms group.share.min.delivery.count.limit \
    group.share.min.heartbeat.interval.ms group.share.min.partition.max.record.locks \
    group.share.min.record.lock.duration.ms group.share.min.session.timeout.ms \
    group.share.partition.max.record.locks group.share.persister.class.name \
    group.share.record.lock.duration.ms group.share.session.timeout.ms \
    group.streams.heartbeat.interval.ms group.streams.initial.rebalance.delay.ms \
    group.streams.max.assignment.interval.ms group.streams.max.heartbeat.interval.ms \
    group.streams.max.session.timeout.ms group.streams.max.size group.streams.max.standby.replicas \
    group.streams.min.assignment.interval.ms group.streams.min.heartbeat.interval.ms \
    group.streams.min.session.timeout.ms group.streams.num.standby.replicas \
    group.streams.session.timeout.ms initial.broker.registration.timeout.ms inter.broker.listener.name \
    internal.metadata.delete.delay.millis internal.metadata.log.segment.bytes \
    internal.metadata.max.batch.size.in.bytes kafka.metrics.polling.interval.secs \
    kafka.metrics.reporters leader.imbalance.check.interval.seconds log.dir log.dir.failure.timeout.ms \
    log.initial.task.delay.ms metadata.log.dir metadata.log.max.record.bytes.between.snapshots \
    metadata.log.max.snapshot.interval.ms metadata.log.segment.bytes metadata.log.segment.ms \
    metadata.max.idle.interval.ms metadata.max.retention.bytes metadata.max.retention.ms \
    metrics.num.samples metrics.recording.level metrics.sample.window.ms \
    num.replica.alter.log.dirs.threads offsets.load.buffer.size offsets.topic.compression.codec \
    offsets.topic.replication.factor process.roles producer.id.expiration.check.interval.ms \
    producer.purgatory.purge.interval.requests quota.window.num quota.window.size.seconds \
    remote.log.index.file.cache.ttl.ms remote.log.manager.copy.quota.window.num \
    remote.log.manager.copy.quota.window.size.seconds remote.log.manager.fetch.quota.window.num \
    remote.log.manager.fetch.quota.window.size.seconds remote.log.manager.task.interval.ms \
    remote.log.manager.task.retry.backoff.max.ms remote.log.manager.task.retry.backoff.ms \
    remote.log.manager.task.retry.jitter remote.log.manager.thread.pool.size \
    remote.log.metadata.custom.metadata.max.bytes remote.log.metadata.manager.class.name \
    remote.log.metadata.manager.class.path remote.log.metadata.manager.impl.prefix \
    remote.log.metadata.manager.listener.name remote.log.reader.max.pending.tasks \
    remote.log.storage.manager.class.name remote.log.storage.manager.class.path \
    remote.log.storage.manager.impl.prefix remote.log.storage.system.enable replica.fetch.backoff.ms \
    replica.fetch.max.bytes replica.fetch.min.bytes replica.fetch.response.max.bytes \
    replica.fetch.wait.max.ms replica.high.watermark.checkpoint.interval.ms replica.lag.time.max.ms \
    replica.selector.class replica.socket.receive.buffer.bytes replica.socket.timeout.ms \
    replication.quota.window.num replication.quota.window.size.seconds request.timeout.ms \
    sasl.client.callback.handler.class sasl.login.callback.handler.class sasl.login.class \
    sasl.login.connect.timeout.ms sasl.login.read.timeout.ms sasl.login.retry.backoff.max.ms \
    sasl.login.retry.backoff.ms sasl.mechanism.controller.protocol sasl.oauthbearer.assertion.algorithm \
    sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds \
    sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.jti.include \
    sasl.oauthbearer.assertion.claim.nbf.seconds sasl.oauthbearer.assertion.claim.sub \
    sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.private.key.file \
    sasl.oauthbearer.assertion.private.key.passphrase sasl.oauthbearer.assertion.template.file \
    sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.credentials.client.secret \
    sasl.oauthbearer.clock.skew.seconds sasl.oauthbearer.expected.audience \
    sasl.oauthbearer.expected.issuer sasl.oauthbearer.jwks.endpoint.refresh.ms \
    sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms sasl.oauthbearer.jwks.endpoint.retry.backoff.ms \
    sasl.oauthbearer.jwks.endpoint.url sasl.oauthbearer.jwt.retriever.class \
    sasl.oauthbearer.jwt.validator.class sasl.oauthbearer.scope sasl.oauthbearer.scope.claim.name \
    sasl.oauthbearer.sub.claim.name sasl.oauthbearer.token.endpoint.url \
    sasl.server.callback.handler.class sasl.server.max.receive.size security.inter.broker.protocol \
    security.providers server.max.startup.time.ms share.coordinator.append.linger.ms \
    share.coordinator.cold.partition.snapshot.interval.ms share.coordinator.load.buffer.size \
    share.coordinator.snapshot.update.records.per.snapshot \
    share.coordinator.state.topic.compression.codec share.coordinator.state.topic.min.isr \
    share.coordinator.state.topic.num.partitions share.coordinator.state.topic.prune.interval.ms \
    share.coordinator.state.topic.replication.factor share.coordinator.state.topic.segment.bytes \
    share.coordinator.threads share.coordinator.write.timeout.ms \
    share.fetch.purgatory.purge.interval.requests socket.connection.setup.timeout.max.ms \
    socket.connection.setup.timeout.ms socket.receive.buffer.bytes socket.send.buffer.bytes \
    ssl.allow.dn.changes ssl.allow.san.changes ssl.principal.mapping.rules telemetry.max.bytes \
    transaction.remove.expired.transaction.cleanup.interval.ms transaction.state.log.load.buffer.size \
    transaction.state.log.min.isr transaction.state.log.replication.factor \
    transaction.state.log.segment.bytes transaction.two.phase.commit.enable \
    unclean.leader.election.interval.ms unstable.api.versions.enable unstable.feature.versions.enable \
";

fn is_in(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == name)
}

/// The type of a key that is stored and not obeyed; none if nobody knows it.
pub(super) fn config_type(name: &str) -> Option<ConfigType> {
    // `listener.name.internal.ssl.keystore.type` is of the type of `ssl.keystore.type`.
    let of_listener = name.strip_prefix(LISTENER).and_then(|rest| rest.split_once('.'));
    let base = of_listener.map_or(name, |(_, base)| base);
    let of = |base: &str| DYNAMIC.iter().find(|(_, names)| is_in(names, base)).map(|(kind, _)| *kind);
    let mechanism = || base.split_once('.').and_then(|(_, rest)| of(rest));
    of(base).or_else(|| broker_setting(base).map(|setting| setting.config_type)).or_else(mechanism)
}

/// Whether Kafka can alter this key while it runs. As in Kafka, nobody can tell for a key that nobody knows.
pub(super) fn is_read_only(name: &str) -> bool {
    config_type(name).is_none()
}

/// Checks what would be set on one broker, or on all of them. The error is for the client.
pub(super) fn check<'a>(
    all: impl Iterator<Item = (&'a String, &'a String)> + Clone,
    per_broker: bool,
) -> Result<(), String> {
    let refuse = |words: &str, wrong: &dyn Fn(&str) -> bool| {
        let names = all.clone().map(|(name, _)| name.as_str()).filter(|name| wrong(name));
        let names: Vec<&str> = names.collect();
        if names.is_empty() { Ok(()) } else { Err(format!("{words}: [{}]", names.join(", "))) }
    };
    let fixed = |name: &str| broker_setting(name).map_or(is_in(READ_ONLY, name), |it| !it.is_live());
    refuse("Cannot update these configs dynamically", &fixed)?;
    let words = "These security configs can be dynamically updated only per-listener \
                 using the listener prefix";
    refuse(words, &|name| is_in(PER_LISTENER, name))?;
    let others = all.clone().filter(|(name, _)| broker_setting(name).is_none());
    others.clone().try_for_each(|(name, value)| check_value(name, value))?;
    if others.count() > KEYS_MAX {
        return Err(format!("more than {KEYS_MAX} configs that this broker does not know"));
    }
    if per_broker {
        return Ok(());
    }
    let words = "Cannot update these configs at default cluster level, broker id must be specified";
    refuse(words, &|name| is_in(PER_BROKER, name) || name.starts_with(LISTENER))
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
        let name: String = name.chars().take(100).collect();
        return Err(format!("the name or the value of configuration {name} is empty or too long"));
    }
    let read = match config_type(name) {
        Some(ConfigType::Int) => i32::parse(value).map(drop),
        Some(ConfigType::Long) => i64::parse(value).map(drop),
        Some(ConfigType::Short) => i16::parse(value).map(drop),
        Some(ConfigType::Double) => f64::parse(value).map(drop),
        Some(ConfigType::Boolean) => bool::parse(value).map(drop),
        _ => Ok(()),
    };
    read.map_err(|wanted| super::alter::wrong(name, value, &wanted))
}

/// Whether a value must not be shown: a password, or one of which nobody knows what it is.
pub fn is_sensitive(name: &str) -> bool {
    let kind = broker_setting(name).map(|setting: &Setting| setting.config_type);
    kind.or_else(|| config_type(name)).is_none_or(|kind| kind == ConfigType::Password)
}

#[cfg(test)]
mod tests {
    use super::super::BROKER;
    use super::*;

    #[test]
    fn a_key_is_in_one_list_only() {
        let dynamic = DYNAMIC.iter().flat_map(|(_, names)| names.split_ascii_whitespace());
        let all: Vec<&str> = dynamic.chain(READ_ONLY.split_ascii_whitespace()).collect();
        let settings = BROKER.iter().filter(|setting| all.contains(&setting.name)).map(|s| s.name);
        assert_eq!(settings.collect::<Vec<_>>(), Vec::<&str>::new());
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn what_nobody_knows_is_a_secret_and_so_are_passwords() {
        for name in ["my.plugin.key", "ssl.key.password", "listener.name.a.ssl.key.password"] {
            assert!(is_sensitive(name), "{name}");
        }
        for name in ["log.retention.ms", "metric.reporters", "listener.name.a.num.network.threads"] {
            assert!(!is_sensitive(name), "{name}");
        }
        assert!(is_sensitive("listener.name.a.plain.sasl.jaas.config"));
        assert!(is_read_only("my.plugin.key") && !is_read_only("metric.reporters"));
    }
}
