//! Network namespaces: made with a name, entered by a thread, removed.

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
};

/// Where `ip netns` and the container runtimes keep names of namespaces (`ip-netns(8)`).
pub const FOLDER: &str = "/run/netns";

/// The path of the namespace with this name.
pub fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Makes a new, empty namespace that lives until [`remove`], and returns its path.
///
/// # Errors
/// `AlreadyExists` if the name is taken; the kernel's error otherwise.
pub fn create(name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(FOLDER)?;
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

/// A thread that has changed its namespace is not used for anything else.
fn on_thread<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(act).join())
        .unwrap_or_else(|_| Err(io::Error::other("a thread inside a namespace panicked")))
}
