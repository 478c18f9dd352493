//! The daemon's end.

use crate::{Reply, Request, client, frame};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen,
        socket, sockopt,
    },
};
use std::{
    ffi::OsString,
    fs::{self, File, Permissions, TryLockError},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    process,
    time::{Duration, Instant},
};

/// Calls that may wait to be accepted: more than a node has pods. The kernel cuts it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// How long to look for another daemon: it need not answer, a free place in its backlog will do.
const PROBE: Duration = Duration::from_millis(200);

/// How long a reply may take to leave. It goes into an empty buffer: only a stopped kernel waits.
const REPLY: Duration = Duration::from_secs(5);

/// The daemon's socket. Only root can connect.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    /// Locked while the listener exists, so that of two daemons that start at once one gives up.
    _lock: File,
}

impl Listener {
    /// Listens on a path. What an earlier daemon left there is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another daemon listens there, or what the kernel says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let lock = File::create(beside(path, ".lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => in_use(path),
            TryLockError::Error(error) => error,
        })?;
        match client::open(path, Instant::now() + PROBE) {
            Ok(_) => return Err(in_use(path)),
            Err(error) if frame::is_timeout(&error) => return Err(in_use(path)),
            Err(_) => {}
        }

        // Made under another name and then moved: at no time can others connect, or connect in
        // vain.
        let socket =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let draft = beside(path, &format!(".{}", process::id()));
        let draft = Path::new(&draft);
        remove_if_there(draft)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(draft)?)?;
        fs::set_permissions(draft, Permissions::from_mode(0o600))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        fs::rename(draft, path)?;
        Ok(Self { socket, _lock: lock })
    }

    /// Waits for the next call, for as long as it takes.
    ///
    /// # Errors
    /// What the kernel says, such as that there are too many open files: wait a little, go on.
    pub fn accept(&self) -> io::Result<Connection> {
        loop {
            match accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(number) => return Ok(Connection { socket: accepted(number) }),
                Err(nix::Error::EINTR | nix::Error::ECONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why a call has no request. There is nobody to answer, except to [`Self::Malformed`].
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The caller left without saying anything.
    #[error("the caller left")]
    Closed,
    /// Nothing came in time.
    #[error("no request within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// What came is no request.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// What the kernel says.
    #[error("receive request: {0}")]
    Io(#[source] io::Error),
}

/// One call.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// Who called, as the kernel knows it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn credentials(&self) -> io::Result<Credentials> {
        let peer = getsockopt(&self.socket, sockopt::PeerCredentials)?;
        Ok(Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
    }

    /// Waits for the request, up to the deadline.
    ///
    /// # Errors
    /// [`ReceiveError`]
    pub fn receive(&self, deadline: Duration) -> Result<Request, ReceiveError> {
        match frame::receive_request(self.socket.as_fd(), Instant::now() + deadline) {
            Ok(Some(request)) => Ok(request),
            Ok(None) => Err(ReceiveError::Closed),
            Err(error) if frame::is_timeout(&error) => Err(ReceiveError::TimedOut(deadline)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(ReceiveError::Closed)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Err(ReceiveError::Malformed(error.to_string()))
            }
            Err(error) => Err(ReceiveError::Io(error)),
        }
    }

    /// The caller is gone: runtimes kill a plugin that takes too long, and nobody waits for the
    /// reply any more.
    #[must_use]
    pub fn caller_left(&self) -> bool {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        // POLLHUP is reported without being asked for.
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Answers and hangs up.
    ///
    /// # Errors
    /// The caller left, or the reply is too long.
    pub fn reply(self, reply: &Reply) -> io::Result<()> {
        let frame = serde_json::to_vec(reply)?;
        frame::send(self.socket.as_fd(), &frame, &[], Instant::now() + REPLY)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[expect(unsafe_code, reason = "nix hands an accepted connection over as a number")]
fn accepted(number: i32) -> OwnedFd {
    // SAFETY: accept4 just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn beside(path: &Path, suffix: &str) -> OsString {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn in_use(path: &Path) -> io::Error {
    let what = format!("another daemon listens on {}", path.display());
    io::Error::new(io::ErrorKind::AddrInUse, what)
}
