//! Which netlink ports are ours: the kernel names the port of each change, so that changes of this
//! process need not be inspected.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a port counts as ours after it was closed: what was sent by it may still wait to be
/// read, and the kernel may give its number to somebody else later.
const AFTER_CLOSING: Duration = Duration::from_secs(10);

/// A netlink protocol; each has port numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Links, addresses, routes, rules.
    Route,
    /// nftables.
    Netfilter,
}

/// A port of this process in the namespace that it works in. It is noted until this is dropped.
#[derive(Debug)]
pub(crate) struct OwnPort(Protocol, u32);

impl OwnPort {
    /// Notes a port.
    pub(crate) fn note(protocol: Protocol, port: u32) -> Self {
        let now = Instant::now();
        let mut ports = ports();
        ports.retain(|it| it.closed.is_none_or(|at| now - at < AFTER_CLOSING));
        ports.push(Noted { protocol, port, closed: None });
        Self(protocol, port)
    }
}

impl Drop for OwnPort {
    fn drop(&mut self) {
        let mut ports = ports();
        let mut open = ports.iter_mut().filter(|it| it.closed.is_none());
        if let Some(it) = open.find(|it| (it.protocol, it.port) == (self.0, self.1)) {
            it.closed = Some(Instant::now());
        }
    }
}

/// Whether a change that came by a port is our own.
pub(crate) fn is_own(protocol: Protocol, port: u32) -> bool {
    let fresh = |it: &Noted| it.closed.is_none_or(|at| at.elapsed() < AFTER_CLOSING);
    ports().iter().any(|it| (it.protocol, it.port) == (protocol, port) && fresh(it))
}

#[derive(Debug)]
struct Noted {
    protocol: Protocol,
    port: u32,
    closed: Option<Instant>,
}

/// Ports belong to the process, so the list of them does.
static PORTS: Mutex<Vec<Noted>> = Mutex::new(vec![]);

fn ports() -> MutexGuard<'static, Vec<Noted>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that changed something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Its id, in the numbering of its own namespace of processes.
    pub process: u32,
    /// Its name, if it was still there to be asked.
    pub name: Option<String>,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (process {})", self.process),
            None => write!(f, "process {}", self.process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_ours_while_it_is_open_and_a_moment_longer_and_only_in_its_protocol() {
        let port = OwnPort::note(Protocol::Route, 4_000_000_001);
        assert!(is_own(Protocol::Route, 4_000_000_001));
        assert!(!is_own(Protocol::Netfilter, 4_000_000_001));

        drop(port);

        assert!(is_own(Protocol::Route, 4_000_000_001), "what it sent may not have been read yet");
        assert!(!is_own(Protocol::Route, 4_000_000_002));
    }
}
