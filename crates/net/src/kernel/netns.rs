//! Network namespaces: made with a name, entered by a thread, removed.

use nix::{
    errno::Errno,
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        stat::{fstat, stat},
        statfs::{FsType, statfs},
    },
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

/// Where `ip netns` and the container runtimes keep names of namespaces (`ip-netns(8)`).
pub const FOLDER: &str = "/run/netns";

/// What files of namespaces lie on (`NSFS_MAGIC` of `linux/magic.h`).
const NSFS: FsType = FsType(0x6e73_6673);

/// `SIOCGSKNS` of `linux/sockios.h`: the namespace of a socket.
const OF_SOCKET: libc::Ioctl = 0x894c;

/// The path of the namespace with this name.
pub fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Makes a new, empty namespace that lives until [`remove`], and returns its path.
///
/// # Errors
/// `AlreadyExists` if the name is taken; the kernel's error otherwise.
pub fn create(name: &str) -> io::Result<PathBuf> {
    share_folder()?;
    let path = path(name);
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    let made = on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(
            Some("/proc/thread-self/ns/net"),
            &path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        Ok(())
    });
    if made.is_err() {
        fs::remove_file(&path)?;
    }
    made.map(|()| path)
}

/// Makes the folder of names a shared mount, as `ip netns` does before it makes a name: it finds ours
/// then, and does not bind the folder over itself, which would hide the names that are there and keep
/// them from being removed.
fn share_folder() -> io::Result<()> {
    fs::create_dir_all(FOLDER)?;
    // As iproute2 locks it: two who bind at once would hide each other's names.
    let folder = File::open(FOLDER)?;
    folder.lock()?;
    let share = || {
        mount(
            None::<&str>,
            FOLDER,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        // It is no mount point yet.
        Err(Errno::EINVAL) => {}
        done => return Ok(done?),
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(FOLDER), FOLDER, None::<&str>, bind, None::<&str>)?;
    Ok(share()?)
}

/// Removes a namespace's name. The kernel ends it, and every device in it, when the last process
/// has left it. One that does not exist is already removed.
pub fn remove(name: &str) -> io::Result<()> {
    let path = path(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        // Not a mount: the file of a namespace that was never finished.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Runs a closure inside a namespace, on a thread of its own: what it opens there stays there, and
/// processes that it starts are born there. The caller's thread does not move.
///
/// # Errors
/// The namespace cannot be opened or entered, or the closure's own error.
pub fn within<T: Send>(path: &Path, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = File::open(path).map_err(|error| {
        io::Error::new(error.kind(), format!("open namespace {}: {error}", path.display()))
    })?;
    on_thread(|| {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        act()
    })
}

/// Makes sure that a socket is of a namespace, and that this is not the one of this process.
pub(crate) fn expect_other(socket: BorrowedFd, namespace: BorrowedFd) -> io::Result<()> {
    static OWN: OnceLock<(u64, u64)> = OnceLock::new();
    let meant = number(namespace)?;
    if number(of(socket)?.as_fd())? != meant {
        return Err(io::Error::other(
            "the socket is not of the network namespace that came with it",
        ));
    }
    let own = match OWN.get() {
        Some(own) => *own,
        None => {
            let own = stat("/proc/self/ns/net")?;
            *OWN.get_or_init(|| (own.st_dev, own.st_ino))
        }
    };
    if own == meant {
        return Err(io::Error::other("the network namespace is the node's own, not a pod's"));
    }
    Ok(())
}

/// The network namespace of a socket.
#[expect(unsafe_code, reason = "no library knows this question to the kernel")]
fn of(socket: BorrowedFd) -> io::Result<OwnedFd> {
    // SAFETY: the question takes no argument, and the descriptor is open.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), OF_SOCKET) };
    let number = Errno::result(answer)?;
    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn number(namespace: BorrowedFd) -> io::Result<(u64, u64)> {
    let found = fstat(namespace)?;
    Ok((found.st_dev, found.st_ino))
}

/// A thread that has changed its namespace is not used for anything else.
fn on_thread<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(act).join())
        .unwrap_or_else(|_| Err(io::Error::other("a thread inside a namespace panicked")))
}

/// Whether a namespace is there, as far as this process can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// It is there.
    There,
    /// It is gone: its file is, or is one that an unmounted namespace left.
    Gone,
    /// Nothing is known: the folder of its file is not there either. So it is in a container into
    /// which the node's folder is not mounted, and for `/proc/PID/ns/net`, where the folder goes with
    /// the process, and the number means another one in a container.
    Unseen,
}

impl Namespace {
    /// Looks at the file of a namespace.
    pub fn at(path: &Path) -> Self {
        match statfs(path) {
            Ok(found) if found.filesystem_type() == NSFS => Self::There,
            Ok(_) => Self::Gone,
            Err(Errno::ENOENT) if path.parent().is_some_and(Path::is_dir) => Self::Gone,
            Err(_) => Self::Unseen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_gone_when_its_folder_is_there_and_it_is_not() {
        for (path, want) in [
            ("/proc/self/ns/net", Namespace::There),
            // As a file that an unmounted namespace left.
            ("/proc/self/status", Namespace::Gone),
            ("/proc/self/nonexistent", Namespace::Gone),
            ("/nonexistent/netns/a", Namespace::Unseen),
            ("/proc/0/ns/net", Namespace::Unseen),
            ("", Namespace::Unseen),
        ] {
            assert_eq!(Namespace::at(Path::new(path)), want, "{path}");
        }
    }
}
