//! Both ends of the daemon's socket, with descriptors.

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, connect,
    listen, sendmsg, socket,
};
use rpc::{Listener, Request};
use std::{
    env, fs,
    fs::File,
    io::IoSlice,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
    thread,
    time::Duration,
};

/// What is waited for is there already.
const SHORT: Duration = Duration::from_millis(200);

/// What a plugin sends: the first byte says how many descriptors, the rest is the message.
pub(crate) fn envelope(bytes: &[u8]) {
    static LISTENER: OnceLock<Listener> = OnceLock::new();
    let Some((count, message)) = bytes.split_first() else { return };
    let path = place("daemon.sock");
    let listener = LISTENER.get_or_init(|| Listener::bind(&path).expect("listen"));
    let file = File::open("/dev/null").expect("open a file");
    let descriptors = vec![file.as_raw_fd(); usize::from(*count % 12)];

    let before = open();
    let client = client(&path);
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(message)];
    if sendmsg::<()>(client.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, None).is_err() {
        let _ = listener.accept();
        return;
    }
    let connection = listener.accept().expect("accept");
    drop(connection.receive(SHORT));
    drop((connection, client));
    assert_eq!(open(), before, "descriptors that were sent are open");
}

/// What a daemon answers.
pub(crate) fn reply(bytes: &[u8]) {
    static SERVER: OnceLock<OwnedFd> = OnceLock::new();
    let path = place("plugin.sock");
    let server = SERVER.get_or_init(|| {
        let server = seqpacket();
        bind(server.as_raw_fd(), &UnixAddr::new(&path).expect("a path")).expect("bind");
        listen(&server, nix::sys::socket::Backlog::new(8).expect("a number")).expect("listen");
        server
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = accept(server.as_raw_fd()).expect("accept");
            // SAFETY: accept just made this descriptor for us and nobody else knows it.
            let client = unsafe { OwnedFd::from_raw_fd(client) };
            let parts = [IoSlice::new(bytes)];
            let _ = sendmsg::<()>(client.as_raw_fd(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None);
        });
        let _ = rpc::call(&path, &Request::default(), Duration::from_secs(5));
    });
}

/// How many descriptors this process has open.
fn open() -> usize {
    fs::read_dir("/proc/self/fd").expect("a list").count()
}

fn client(path: &Path) -> OwnedFd {
    let client = seqpacket();
    connect(client.as_raw_fd(), &UnixAddr::new(path).expect("a path")).expect("connect");
    client
}

fn seqpacket() -> OwnedFd {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("socket")
}

fn place(name: &str) -> PathBuf {
    let root = env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    root.join(format!("eni-cni-fuzz-{}-{name}", process::id()))
}
