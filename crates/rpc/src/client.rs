//! The plugin's end.

use crate::{Reply, Request, frame};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

/// Why there is no reply. The variants differ in whether the daemon may act on the request.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request reached nobody.
    #[error("nobody listens on the socket: {0}")]
    NobodyListens(#[source] io::Error),
    /// The daemon may have acted on the request or not: it left before it answered.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// The daemon has the request, or will have it, and may still act on it.
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The request cannot be sent, whoever listens.
    #[error("the request cannot be sent: {0}")]
    Unsendable(#[source] io::Error),
}

impl CallError {
    /// No daemon was there, or the one that was has ended: the next one can be asked. Everything that
    /// a daemon is asked gives the same when it is asked twice.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof,
        };
        match self {
            Self::NobodyListens(error) => matches!(error.kind(), NotFound | ConnectionRefused),
            Self::Broken(error) => {
                matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
            }
            Self::NoAnswer(_) | Self::Unsendable(_) => false,
        }
    }
}

/// Sends a request to the daemon and waits for its reply.
///
/// # Errors
/// [`CallError`]; never later than the deadline.
pub fn call(socket: &Path, request: &Request, deadline: Duration) -> Result<Reply, CallError> {
    let until = Instant::now() + deadline;
    let late = |error: io::Error, otherwise: fn(io::Error) -> CallError| {
        if frame::is_timeout(&error) { CallError::NoAnswer(deadline) } else { otherwise(error) }
    };
    let connection = open(socket, until).map_err(|error| late(error, CallError::NobodyListens))?;
    frame::send_request(connection.as_fd(), request, until).map_err(|error| {
        let unsendable = error.kind() == io::ErrorKind::InvalidData;
        late(error, if unsendable { CallError::Unsendable } else { CallError::Broken })
    })?;
    let (reply, _) = frame::receive(connection.as_fd(), until)
        .map_err(|error| late(error, CallError::Broken))?;
    if reply.is_empty() {
        return Err(CallError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&reply).map_err(|error| CallError::Broken(error.into()))
}

/// Connects; waits while the daemon is too busy to accept.
pub(crate) fn open(path: &Path, until: Instant) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    let address = UnixAddr::new(path)?;
    loop {
        setsockopt(&socket, sockopt::SendTimeout, &frame::remaining(until)?)?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(socket),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
