//! One daemon on a node: a name that lives in the kernel, so that no folder carries it away.

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, UnixCredentials, accept4, bind, connect,
    getsockopt, listen, socket, sockopt,
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::Duration,
};

/// The daemon's name, in the abstract namespace of unix sockets: there is one for each network
/// namespace, and the node has one. It goes with the process, however that ends.
pub const GUARD_NAME: &str = "eni-cni/ipamd";

/// How often to look who holds a name. Whoever has just taken it does not listen yet, and whoever
/// ends just now is gone at the next look.
const LOOKS: usize = 10;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Those who ask at the same time.
const BACKLOG: i32 = 128;

/// Why a name could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Root has it: another daemon.
    #[error("another ipamd runs on this node, {}", process(*pid))]
    Taken {
        /// Its process; 0 when it is in another pid namespace.
        pid: i32,
    },
    /// Somebody else has it: whoever is in the node's network can take it.
    #[error("user {uid} holds the name that keeps a second ipamd out, {}", process(*pid))]
    Squatted {
        /// Its process; 0 when it is in another pid namespace.
        pid: i32,
        /// Its user.
        uid: u32,
    },
    /// What the kernel says, or that somebody holds it who does not listen.
    #[error("take the name that keeps a second ipamd out: {0}")]
    Io(#[from] io::Error),
}

/// Takes a name in the network namespace of this thread, for as long as this process lives.
///
/// # Errors
/// [`GuardError`]
pub fn guard(name: &str) -> Result<(), GuardError> {
    let address = UnixAddr::new_abstract(name.as_bytes()).map_err(io::Error::from)?;
    let mut last = nix::Error::EADDRINUSE;
    for look in 0..LOOKS {
        if look > 0 {
            thread::sleep(PAUSE);
        }
        let guard = seq_packet(SockFlag::empty())?;
        match bind(guard.as_raw_fd(), &address) {
            Ok(()) => return hold(guard).map_err(GuardError::Io),
            Err(nix::Error::EADDRINUSE) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        match holder(&address)? {
            Ok(holder) if holder.uid() == 0 => return Err(GuardError::Taken { pid: holder.pid() }),
            Ok(holder) => {
                return Err(GuardError::Squatted { pid: holder.pid(), uid: holder.uid() });
            }
            Err(error) => last = error,
        }
    }
    Err(io::Error::from(last).into())
}

/// Listens, so that who asks learns who holds the name, and hangs up: the queue of those who ask
/// would be full one day.
fn hold(guard: OwnedFd) -> io::Result<()> {
    listen(&guard, Backlog::new(BACKLOG)?)?;
    let hang_up = move || {
        loop {
            match accept4(guard.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(asks) => drop(nix::unistd::close(asks)),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    };
    thread::Builder::new().name("guard".into()).spawn(hang_up).map(drop)
}

/// Who holds the name, or why that cannot be told.
fn holder(address: &UnixAddr) -> io::Result<nix::Result<UnixCredentials>> {
    let asks = seq_packet(SockFlag::SOCK_NONBLOCK)?;
    let connected = connect(asks.as_raw_fd(), address);
    Ok(connected.and_then(|()| getsockopt(&asks, sockopt::PeerCredentials)))
}

fn seq_packet(flags: SockFlag) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

fn process(pid: i32) -> String {
    match pid {
        0 => "a process of another container".into(),
        pid => format!("process {pid}"),
    }
}
