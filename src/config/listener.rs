//! Listeners: `NAME://host:port`, and which security protocol a name stands for.

use std::collections::BTreeMap;
use std::fmt;

use super::value::parts;

/// How a listener's connections are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// Authenticated, not encrypted.
    SaslPlaintext,
    /// Authenticated over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|p| p.name().eq_ignore_ascii_case(name))
    }
}

/// A place to listen on, or an address to tell clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals; unique among the listeners of a broker.
    pub name: String,
    /// How it is secured; only `Plaintext` passes the checks today.
    pub protocol: SecurityProtocol,
    /// Host name or address, without brackets; empty means all interfaces.
    pub host: String,
    /// TCP port; 0 lets the system choose.
    pub port: u16,
}

impl Listener {
    /// Reads `NAME://host:port`; the error says what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "NAME://host:port, such as PLAINTEXT://localhost:9092".to_owned();
        let (name, address) = text.split_once("://").ok_or_else(wanted)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wanted)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(wanted());
        }
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => v6,
            None if host.contains(':') => return Err("an IPv6 address in brackets: [::1]:9092".to_owned()),
            None => host,
        };
        if !host.chars().all(|c| plain(c) || ":%".contains(c)) {
            return Err(wanted());
        }
        let port = port.parse().map_err(|_| "a port from 0 to 65535 after the last colon".to_owned())?;
        let protocol = SecurityProtocol::of(name).unwrap_or(SecurityProtocol::Plaintext);
        Ok(Self { name: name.to_ascii_uppercase(), protocol, host: host.to_owned(), port })
    }

    /// Whether the host names no particular interface, so that it says nothing to a client.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{name}://[{host}]:{port}")
        } else {
            write!(f, "{name}://{host}:{port}")
        }
    }
}

/// `listener.security.protocol.map`: which protocol a listener's name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolMap(BTreeMap<String, SecurityProtocol>);

impl ProtocolMap {
    /// Reads `NAME:PROTOCOL,NAME:PROTOCOL`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let entry = |part: &str| {
            let (name, protocol) = part.split_once(':')?;
            Some((name.trim().to_ascii_uppercase(), SecurityProtocol::of(protocol.trim())?))
        };
        let wanted =
            || "NAME:PROTOCOL pairs, PROTOCOL being PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL".to_owned();
        parts(text).map(|part| entry(part).ok_or_else(wanted)).collect::<Result<_, _>>().map(Self)
    }

    /// The protocol of a listener's name: by the map, else by the name itself.
    fn protocol(&self, name: &str) -> Option<SecurityProtocol> {
        self.0.get(name).copied().or_else(|| SecurityProtocol::of(name))
    }
}

/// Settles the protocols of listeners and drops those that belong to a Kafka controller; the error says what
/// would be right.
pub(super) fn check(
    listeners: &mut Vec<Listener>,
    map: &ProtocolMap,
    controllers: &[String],
) -> Result<(), String> {
    settle_names(listeners, map, controllers)?;
    if listeners.is_empty() {
        Err("at least one listener for clients".to_owned())
    } else {
        distinct_ports(listeners)
    }
}

fn settle_names(
    listeners: &mut Vec<Listener>,
    map: &ProtocolMap,
    controllers: &[String],
) -> Result<(), String> {
    listeners.retain(|l| !controllers.iter().any(|c| c.eq_ignore_ascii_case(&l.name)));
    for listener in listeners.iter_mut() {
        let name = &listener.name;
        let unknown =
            || format!("named after a protocol, or {name} be listed in listener.security.protocol.map");
        listener.protocol = map.protocol(name).ok_or_else(unknown)?;
        if listener.protocol != SecurityProtocol::Plaintext {
            let protocol = listener.protocol.name();
            return Err(format!("PLAINTEXT: {protocol} listeners are not possible in this version"));
        }
    }
    match repeated(listeners, |a, b| a.name == b.name) {
        Some(twice) => Err(format!("listeners of different names: {} is there twice", twice.name)),
        None => Ok(()),
    }
}

/// Checks advertised listeners: each must be one of the listeners, and name a host clients can
/// reach.
pub(super) fn settle_advertised(
    advertised: &mut Vec<Listener>,
    listeners: &[Listener],
    map: &ProtocolMap,
    controllers: &[String],
) -> Result<(), String> {
    // Several listeners may share an advertised port behind a load balancer, so only names must differ.
    settle_names(advertised, map, controllers)?;
    for a in advertised.iter() {
        if a.is_wildcard() {
            return Err(format!("addresses that clients can connect to; {a} names no host"));
        }
        if !listeners.iter().any(|l| l.name == a.name) {
            return Err(format!("some of listeners by name; there is no listener {}", a.name));
        }
    }
    Ok(())
}

/// Checks `http.listeners`.
pub(super) fn settle_http(listeners: &[Listener]) -> Result<(), String> {
    match listeners.iter().find(|l| l.name != "HTTP") {
        Some(other) => Err(format!("HTTP://host:port; {} is not possible", other.name)),
        None => distinct_ports(listeners),
    }
}

fn distinct_ports(listeners: &[Listener]) -> Result<(), String> {
    match repeated(listeners, |a, b| a.port != 0 && a.port == b.port && a.host == b.host) {
        Some(twice) => Err(format!("listeners on different ports: {} is there twice", twice.port)),
        None => Ok(()),
    }
}

/// The first listener that is the same as an earlier one.
fn repeated(listeners: &[Listener], same: impl Fn(&Listener, &Listener) -> bool) -> Option<&Listener> {
    let earlier = |i: usize, l: &Listener| listeners.iter().take(i).any(|other| same(other, l));
    listeners.iter().enumerate().find_map(|(i, l)| earlier(i, l).then_some(l))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_is_read_and_printed_alike() {
        for text in
            ["PLAINTEXT://localhost:9092", "PLAINTEXT://:9092", "A_B-1://[::1]:0", "X://0.0.0.0:65535"]
        {
            assert_eq!(Listener::parse(text).unwrap().to_string(), text);
        }
        let all = Listener::parse("plaintext://:9092").unwrap();
        assert_eq!((all.name.as_str(), all.host.as_str(), all.port), ("PLAINTEXT", "", 9092));
        assert!(all.is_wildcard());
        assert!(!Listener::parse("PLAINTEXT://localhost:1").unwrap().is_wildcard());
    }

    #[test]
    fn what_is_not_a_listener_is_refused_with_advice() {
        for text in
            ["", "localhost:9092", "PLAINTEXT://localhost", "PLAINTEXT://a b:1", "://h:1", "P Q://h:1"]
        {
            assert!(Listener::parse(text).unwrap_err().contains("NAME://host:port"), "{text}");
        }
        assert!(Listener::parse("P://h:65536").unwrap_err().contains("65535"));
        assert!(Listener::parse("P://::1:9092").unwrap_err().contains("brackets"));
    }

    #[test]
    fn a_container_composition_keeps_its_client_listeners_only() {
        let text = "PLAINTEXT://:9092,CONTROLLER://:9093,PLAINTEXT_HOST://:29092";
        let mut listeners: Vec<_> = parts(text).map(|l| Listener::parse(l).unwrap()).collect();
        let map =
            ProtocolMap::read("CONTROLLER:PLAINTEXT, PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:plaintext").unwrap();
        check(&mut listeners, &map, &["CONTROLLER".to_owned()]).unwrap();
        let names: Vec<_> = listeners.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["PLAINTEXT", "PLAINTEXT_HOST"]);
    }

    #[test]
    fn unmapped_secured_and_repeated_listeners_are_refused() {
        let refuse = |texts: &[&str]| {
            let mut listeners: Vec<_> = texts.iter().map(|l| Listener::parse(l).unwrap()).collect();
            check(&mut listeners, &ProtocolMap::default(), &[]).unwrap_err()
        };
        assert!(refuse(&["INSIDE://:1"]).contains("listener.security.protocol.map"));
        assert!(refuse(&["SASL_SSL://:1"]).contains("SASL_SSL listeners are not possible"));
        assert!(refuse(&["PLAINTEXT://:1", "PLAINTEXT://:2"]).contains("twice"));
        assert!(refuse(&[]).contains("at least one"));
        assert!(ProtocolMap::read("A:B").is_err());
    }
}
