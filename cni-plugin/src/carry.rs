//! Opens what the daemon cannot open itself (namespace, netlink socket), and calls the daemon.

use crate::without_daemon;
use cni::{Code, Command, Error};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open as open_file},
    sched::{CloneFlags, setns},
    sys::{
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
        stat::{Mode, fstat},
    },
};
use record::plugin_log::Level;
use rpc::{CallError, Reply, Request};
use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The longest ADD, with all times that it is asked. kubelet gives the runtime four minutes, operators
/// may have halved that, and a failure costs a new sandbox and 12 s. So the daemon may wait long for an
/// address, and the plugin still gives up before the runtime does.
const ADD: Duration = Duration::from_secs(90);

/// How long an ADD asks again while no daemon is there. A rollout leaves a node one or two seconds
/// without one, a busy node more; a failure costs the pod 12 s, and more when it is hit again.
const ADD_ASKS_AGAIN: Duration = Duration::from_secs(15);

/// The longest DEL. containerd kills the DEL after a failed ADD at 60 s.
const DEL: Duration = Duration::from_secs(30);

/// The longest second attempt of a DEL that is in the spool already. Both attempts stay below 60 s.
const DEL_AGAIN: Duration = Duration::from_secs(10);

/// The longest CHECK, which only looks.
const CHECK: Duration = Duration::from_secs(10);

/// How long a CHECK asks again: that there is no daemon for a moment says nothing about a pod.
const CHECK_ASKS_AGAIN: Duration = Duration::from_secs(5);

/// The longest GC. cri-o gives it 30 s, and starts no pods meanwhile.
const GC: Duration = Duration::from_secs(25);

/// The longest STATUS. containerd runs it under a lock whenever kubelet asks, every 5 s.
const STATUS: Duration = Duration::from_secs(2);

/// How long a STATUS asks again: a failure makes the node NotReady.
const STATUS_ASKS_AGAIN: Duration = Duration::from_millis(1_500);

/// The pause before the daemon is asked again: a pod that starts hardly notices it.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a verb may take.
struct Patience {
    /// In all.
    all: Duration,
    /// While no daemon is there.
    asks_again: Duration,
}

impl Patience {
    fn of(command: Command) -> Self {
        let (all, asks_again) = match command {
            Command::Add => (ADD, ADD_ASKS_AGAIN),
            Command::Check => (CHECK, CHECK_ASKS_AGAIN),
            Command::Status | Command::Version => (STATUS, STATUS_ASKS_AGAIN),
            // The spool is for what no daemon takes.
            Command::Del => (DEL, Duration::ZERO),
            // The runtime repeats it by itself.
            Command::Gc => (GC, Duration::ZERO),
        };
        Self { all, asks_again }
    }
}

/// Opens what belongs to the request. Enters the pod's network namespace and stays there: the
/// process ends soon, and the daemon's socket is a file.
///
/// Opens nothing below `/proc/sys/net`: the kernel keeps the names there of all namespaces in one
/// list and searches it for each lookup. With 1,000 pods that took twice the time of everything
/// else.
pub(crate) fn open(
    env: BTreeMap<String, String>,
    stdin: &[u8],
    request: &cni::Request,
) -> Result<Request, Error> {
    let bare = Request { env, stdin: stdin.to_vec(), ..Request::default() };
    let path = match (request.command, &request.netns) {
        (Command::Add | Command::Check | Command::Del, Some(path)) => path,
        // CNI 1.1.0, "DEL": CNI_NETNS is optional.
        (Command::Add | Command::Check | Command::Del, None)
        | (Command::Gc | Command::Status | Command::Version, _) => return Ok(bare),
    };
    let wrong = |what: &str, cause: io::Error| {
        Error::new(Code::InvalidNetns, format!("failed to {what} netns {path:?}: {cause}"))
    };
    let gone_is_fine = request.command == Command::Del;

    let netns = match open_file(Path::new(path), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
    {
        Ok(netns) => netns,
        Err(_) if gone_is_fine => return Ok(bare),
        Err(error) => return Err(wrong("open", error.into())),
    };
    // Before anything is done: the reference library checks afterwards, and then prints both a
    // result and an error.
    if !request.netns_override && is_own(&netns).map_err(|error| wrong("look at", error))? {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(Error::new(Code::InvalidNetns, msg));
    }
    match setns(&netns, CloneFlags::CLONE_NEWNET) {
        Ok(()) => {}
        // A namespace that was unmounted leaves an empty file.
        Err(Errno::EINVAL) if gone_is_fine => return Ok(bare),
        Err(error) => return Err(wrong("enter", error.into())),
    }
    let netlink = netlink().map_err(|error| wrong("open a netlink socket in", error))?;
    Ok(Request { netns: Some(netns), pod_netlink: Some(netlink), ..bare })
}

/// A netlink socket in the namespace that this process is in.
fn netlink() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

/// Calls the daemon.
pub(crate) fn ask(command: Command, mut request: Request) -> Result<Reply, Error> {
    let run_dir = rpc::run_dir();
    let socket = run_dir.join(rpc::SOCKET_NAME);
    match call(&run_dir, &socket, &mut request, &Patience::of(command)) {
        Ok(reply) => Ok(reply),
        Err(CallError::NobodyListens(_) | CallError::Broken(_)) if command == Command::Del => {
            open_anew(&mut request);
            let call_again = || rpc::call(&socket, &request, DEL_AGAIN);
            without_daemon::keep_del(&run_dir, &request, call_again, || {
                let message = "kept a DEL for the next daemon: none answered";
                crate::note(command, &request.stdin, Level::Warn, message, "");
            })
        }
        Err(error) => Err(without_daemon::error(command, &run_dir, &error)),
    }
}

/// Calls, and calls again while no daemon is there, unless this node was handed back: then none comes.
fn call(
    run_dir: &Path,
    socket: &Path,
    request: &mut Request,
    patience: &Patience,
) -> Result<Reply, CallError> {
    let until = Instant::now() + patience.all;
    let mut give_up = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let error = match rpc::call(socket, request, left) {
            Err(error) if error.is_absence() => error,
            ended => return ended,
        };
        let now = Instant::now();
        let give_up = *give_up.get_or_insert(now + patience.asks_again);
        if now + PAUSE > give_up.min(until) || without_daemon::is_handed_back(run_dir) {
            return Err(error);
        }
        thread::sleep(PAUSE);
        open_anew(request);
    }
}

/// Opens the netlink socket anew: what the kernel has answered to the last daemon would be in the way of
/// the next one.
fn open_anew(request: &mut Request) {
    if request.pod_netlink.is_some()
        && let Ok(fresh) = netlink()
    {
        request.pod_netlink = Some(fresh);
    }
}

/// The namespace is the one that we run in.
fn is_own(netns: &OwnedFd) -> io::Result<bool> {
    let own =
        open_file("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let (own, other) = (fstat(&own)?, fstat(netns)?);
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}
