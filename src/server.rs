//! Listeners, limits on connections, and a shutdown that drains responses.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use crate::api::Service;
use crate::broker::{Broker, Peer};
use crate::config::Listener;
use crate::connection::{self, End};

/// How long `accept` rests after the system refused it a connection (too many open files, most likely).
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// What refuses a connection when only the descriptors are left that logs need.
const OPEN_FILES: &str = "the limit of open files";
/// How long connections may take to finish what they have begun when the broker goes down.
const DRAIN: Duration = Duration::from_secs(5);

/// A listener that is bound and not yet served.
pub struct Bound {
    /// The name clients know it by.
    pub name: String,
    /// The address it got; the port is real even if 0 was asked for.
    pub address: SocketAddr,
    /// The listening socket.
    pub socket: TcpListener,
}

/// Binds a listener. An empty host means every interface, over IPv6 and IPv4 where the system has both.
pub async fn bind(listener: &Listener, backlog: u32) -> io::Result<Bound> {
    let host = if listener.host.is_empty() { "::" } else { listener.host.as_str() };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host name has no address");
    // `localhost` is the IPv4 one first: some clients never try the other.
    let mut addresses: Vec<SocketAddr> = match lookup_host((host, listener.port)).await {
        Ok(found) => found.collect(),
        Err(e) if listener.host.is_empty() => return Err(e),
        Err(e) => return Err(io::Error::new(e.kind(), format!("cannot resolve host {host}: {e}"))),
    };
    if listener.host.is_empty() {
        addresses.push(SocketAddr::from(([0, 0, 0, 0], listener.port)));
    } else {
        addresses.sort_by_key(SocketAddr::is_ipv6);
    }
    for address in addresses {
        match listen(address, backlog) {
            Ok(socket) => {
                let address = socket.local_addr()?;
                return Ok(Bound { name: listener.name.clone(), address, socket });
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Accepts and serves clients until `stop` turns true; returns when the last connection has ended.
pub async fn run(service: Arc<Service>, listeners: Vec<Bound>, stop: watch::Receiver<bool>) {
    let guests = Arc::new(Guests::default());
    let mut doors = JoinSet::new();
    for bound in listeners {
        doors.spawn(accept(service.clone(), bound, guests.clone(), stop.clone()));
    }
    while doors.join_next().await.is_some() {}
}

async fn accept(service: Arc<Service>, bound: Bound, guests: Arc<Guests>, mut stop: watch::Receiver<bool>) {
    let metrics = service.broker.metrics.listener(&bound.name);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let guest = match guests.clone().admit(&service.broker, address.ip()) {
                    Ok(guest) => guest,
                    Err(limit) => {
                        metrics.refused(limit);
                        warn!(%address, listener = bound.name, "connection refused: {limit} is reached");
                        continue;
                    }
                };
                let Ok(local) = stream.local_addr() else { continue };
                let peer = Peer::new(address, local, bound.name.clone(), metrics.opened());
                let (service, stop) = (service.clone(), stop.clone());
                connections.spawn(async move {
                    welcome(service, stream, peer, stop).await;
                    drop(guest);
                });
            }
            Err(error) => {
                warn!(%error, listener = bound.name, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(bound);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        connections.shutdown().await;
    }
}

async fn welcome(service: Arc<Service>, stream: TcpStream, peer: Peer, stop: watch::Receiver<bool>) {
    let (address, listener) = (peer.address, peer.listener.clone());
    // Answers are written whole; there is nothing for Nagle to gather.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%address, %error, "cannot set TCP_NODELAY");
    }
    let end = connection::serve(service, stream, peer, stop).await;
    match end {
        End::Refused(why) => warn!(%address, listener, "connection closed: {why}"),
        End::Panicked(_) => error!(%address, listener, "connection closed: {end}"),
        End::Closed | End::Idle | End::Shutdown | End::Io(_) => {
            debug!(%address, listener, "connection closed: {end}");
        }
    }
}

/// Who is in, by address, so that one client cannot take every place.
#[derive(Default)]
struct Guests {
    inside: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

impl Guests {
    /// A place for a client from this address, or the setting that says no.
    fn admit(self: Arc<Self>, broker: &Arc<Broker>, ip: IpAddr) -> Result<Guest, &'static str> {
        let (config, mut inside) = (broker.live(), self.inside.lock());
        if !broker.dirs().descriptors().admits_client(inside.0) {
            return Err(OPEN_FILES);
        }
        if inside.0 >= config.max_connections.max(0) as usize {
            return Err("max.connections");
        }
        let of_ip = inside.1.entry(ip).or_default();
        if *of_ip >= config.max_connections_per_ip.max(0) as usize {
            return Err("max.connections.per.ip");
        }
        *of_ip += 1;
        inside.0 += 1;
        broker.dirs().descriptors().set_clients(inside.0);
        drop(inside);
        Ok(Guest { guests: self, broker: broker.clone(), ip })
    }
}

/// A place taken, given back when dropped.
struct Guest {
    guests: Arc<Guests>,
    broker: Arc<Broker>,
    ip: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.guests.inside.lock();
        inside.0 -= 1;
        self.broker.dirs().descriptors().set_clients(inside.0);
        if let Some(of_ip) = inside.1.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                inside.1.remove(&self.ip);
            }
        }
    }
}
