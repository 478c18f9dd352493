//! The daemon's end.

use crate::{Reply, Request, client, frame};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, Backlog, Shutdown, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt,
        listen, shutdown, socket, sockopt,
    },
};
use std::{
    ffi::OsString,
    fs::{self, File, Permissions, TryLockError},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Calls that may wait to be accepted: more than a node has pods. The kernel cuts it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// What the name of the lock ends with, beside the socket.
const LOCK: &str = ".lock";

/// How long to look for another daemon: it need not answer, a free place in its backlog will do.
const PROBE: Duration = Duration::from_millis(200);

/// How long a reply may take to leave. It goes into an empty buffer: only a stopped kernel waits.
const REPLY: Duration = Duration::from_secs(5);

/// The daemon's socket. Only root can connect.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    state: Mutex<State>,
    /// It is bound, or bound anew, or closed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bound: Option<Arc<Bound>>,
    is_closed: bool,
}

/// A socket at its path.
#[derive(Debug)]
struct Bound {
    socket: OwnedFd,
    /// Device and inode of the path: nobody else gets them while the socket is open.
    number: (u64, u64),
    /// Locked while the socket exists, so that of two daemons that start at once one gives up.
    lock: Arc<File>,
}

impl Listener {
    /// Listens on a path. What an earlier daemon left there is replaced.
    ///
    /// # Errors
    /// As [`Self::keep_bound`].
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = Self::unbound(path);
        listener.keep_bound()?;
        Ok(listener)
    }

    /// Will listen on a path once [`Self::keep_bound`] succeeds; until then [`Self::accept`] waits.
    #[must_use]
    pub fn unbound(path: &Path) -> Self {
        Self { path: path.into(), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Listens on the path again, if it leads to nothing or to something else by now. Whoever waits
    /// in [`Self::accept`] waits at the new socket then. Returns whether it was bound; one that is
    /// closed is not.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another daemon listens there, or what the kernel says.
    pub fn keep_bound(&self) -> io::Result<bool> {
        let (before, is_closed) = {
            let state = self.lock();
            (state.bound.clone(), state.is_closed)
        };
        if is_closed
            || before.as_ref().is_some_and(|bound| number(&self.path) == Some(bound.number))
        {
            return Ok(false);
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let bound = Bound::new(&self.path, before.as_ref().map(|bound| bound.lock.clone()))?;
        let mut state = self.lock();
        if state.is_closed {
            bound.take_away(&self.path);
            return Ok(false);
        }
        state.bound = Some(Arc::new(bound));
        drop(state);
        self.changed.notify_all();
        if let Some(before) = before {
            // It wakes those who wait there; that nobody can come there any more is no error.
            let _ = shutdown(before.socket.as_raw_fd(), Shutdown::Both);
        }
        Ok(true)
    }

    /// Listens no more: whoever calls from here on meets no socket, or one that refuses. Calls that
    /// came before are still given out by [`Self::accept`].
    pub fn close(&self) {
        let bound = {
            let mut state = self.lock();
            state.is_closed = true;
            state.bound.clone()
        };
        self.changed.notify_all();
        if let Some(bound) = bound {
            bound.take_away(&self.path);
        }
    }

    /// Whether it was closed: then an error of [`Self::accept`] means that there are no more calls.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits for the next call, for as long as it takes.
    ///
    /// # Errors
    /// It is closed, and no call is left; or what the kernel says, such as that there are too many
    /// open files: wait a little, go on.
    pub fn accept(&self) -> io::Result<Connection> {
        loop {
            let Some(bound) = self.wait_for_bound() else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            match accept4(bound.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(number) => return Ok(Connection { socket: accepted(number) }),
                Err(nix::Error::EINTR | nix::Error::ECONNABORTED) => {}
                // Shut down: there is another one by now.
                Err(nix::Error::EINVAL) if !self.is_current(&bound) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next call, if one comes within so long. For one thread alone that accepts.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn accept_within(&self, wait: Duration) -> io::Result<Option<Connection>> {
        let deadline = Instant::now() + wait;
        let Some(bound) = self.wait_until_bound(deadline) else { return Ok(None) };
        let mut polled = [PollFd::new(bound.socket.as_fd(), PollFlags::POLLIN)];
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(nix::Error::EINTR) => Ok(None),
            Ok(_) => self.accept().map(Some),
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self, bound: &Arc<Bound>) -> bool {
        self.lock().bound.as_ref().is_some_and(|current| Arc::ptr_eq(current, bound))
    }

    /// Nothing when it is closed and never was bound, or was not bound in time.
    fn wait_until_bound(&self, deadline: Instant) -> Option<Arc<Bound>> {
        let wait = deadline.saturating_duration_since(Instant::now());
        let unbound = |state: &mut State| state.bound.is_none() && !state.is_closed;
        let waited = self.changed.wait_timeout_while(self.lock(), wait, unbound);
        waited.unwrap_or_else(PoisonError::into_inner).0.bound.clone()
    }

    /// Nothing when it is closed and never was bound.
    fn wait_for_bound(&self) -> Option<Arc<Bound>> {
        let mut state = self.lock();
        while state.bound.is_none() && !state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bound.clone()
    }
}

impl Bound {
    /// Binds a path that is nobody's. `lock`: the one that an earlier socket of ours has.
    fn new(path: &Path, lock: Option<Arc<File>>) -> io::Result<Self> {
        let lock = match lock {
            Some(lock) if is_at(&lock, Path::new(&beside(path, LOCK))) => lock,
            Some(_) | None => Arc::new(locked(path)?),
        };
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
        let number = number(draft).ok_or(io::ErrorKind::NotFound)?;
        fs::rename(draft, path)?;
        Ok(Self { socket, number, lock })
    }

    /// Takes the path away, if it still leads here, and refuses whoever has found it before. Calls that
    /// wait to be accepted stay.
    fn take_away(&self, path: &Path) {
        if number(path) == Some(self.number) {
            // What is left there refuses.
            let _ = fs::remove_file(path);
        }
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
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

fn locked(path: &Path) -> io::Result<File> {
    let lock = File::create(beside(path, LOCK))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => in_use(path),
        TryLockError::Error(error) => error,
    })?;
    Ok(lock)
}

fn is_at(file: &File, path: &Path) -> bool {
    let number_of_file = file.metadata().ok().map(|it| (it.dev(), it.ino()));
    number_of_file.is_some() && number_of_file == number(path)
}

/// Device and inode of what a path leads to, if it leads to anything.
fn number(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|it| (it.dev(), it.ino()))
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
