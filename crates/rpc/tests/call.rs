//! Plugin and daemon over a real socket.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
    unistd::pipe,
};
use rpc::{CallError, Listener, ReceiveError, Reply, Request, call};
use std::{
    fs::{self, File},
    io::{self, IoSlice, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

/// Long enough for a busy machine; no test waits for it to pass.
const LONG: Duration = Duration::from_secs(30);

/// What happens to a socket, and what that is.
type Change = (&'static str, fn(&Path));

/// For waits that are meant to end without success.
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_call_carries_everything_there_and_back() {
    let place = Place::new("carries");
    let listener = Listener::bind(&place.socket).unwrap();
    let (reader, writer) = pipe().unwrap();

    let daemon = thread::spawn(move || {
        let connection = listener.accept().unwrap();
        let who = connection.credentials().unwrap();
        let request = connection.receive(LONG).unwrap();
        File::from(request.pod_netlink.unwrap()).write_all(b"through").unwrap();
        assert!(request.netns.is_none());
        let stdout = format!("{:?} {}", request.env, String::from_utf8_lossy(&request.stdin));
        connection.reply(&Reply { exit_code: 3, stdout }).unwrap();
        who
    });
    let request = Request {
        env: [("CNI_COMMAND".to_owned(), "ADD".to_owned())].into(),
        stdin: b"{\n}".to_vec(),
        pod_netlink: Some(writer),
        ..Request::default()
    };
    let reply = call(&place.socket, &request, LONG).unwrap();

    assert_eq!(
        reply,
        Reply {
            exit_code: 3,
            stdout: r#"{"CNI_COMMAND": "ADD"} {
}"#
            .into()
        }
    );
    let who = daemon.join().unwrap();
    assert_eq!(u32::try_from(who.pid).unwrap(), process::id());
    drop(request);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn a_long_stdin_arrives_whole() {
    let place = Place::new("long");
    let listener = Listener::bind(&place.socket).unwrap();
    let stdin: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();

    let daemon = thread::spawn(move || {
        let connection = listener.accept().unwrap();
        let request = connection.receive(LONG).unwrap();
        connection.reply(&Reply { exit_code: 0, stdout: String::new() }).unwrap();
        request.stdin
    });
    call(&place.socket, &Request { stdin: stdin.clone(), ..Request::default() }, LONG).unwrap();

    assert!(daemon.join().unwrap() == stdin);
}

#[test]
fn a_socket_that_is_missing_or_dead_is_told_from_a_daemon_that_fails() {
    let place = Place::new("errors");
    let ask = |deadline| call(&place.socket, &Request::default(), deadline).unwrap_err();

    assert!(matches!(ask(LONG), CallError::NobodyListens(_)));
    drop(Listener::bind(&place.socket).unwrap());
    assert!(place.socket.exists());
    assert!(matches!(ask(LONG), CallError::NobodyListens(_)));

    let listener = Listener::bind(&place.socket).unwrap();
    assert!(matches!(ask(SHORT), CallError::NoAnswer(_)));
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(listener.accept().unwrap());
            drop(listener.accept().unwrap());
        });
        assert!(matches!(ask(LONG), CallError::Broken(_)));
    });
}

#[test]
fn a_request_that_is_too_long_is_told_from_a_daemon_that_fails() {
    let place = Place::new("too-long");
    let _listener = Listener::bind(&place.socket).unwrap();
    let request = Request {
        env: [("CNI_ARGS".to_owned(), "x".repeat(1 << 20))].into(),
        ..Request::default()
    };

    let error = call(&place.socket, &request, LONG).unwrap_err();

    assert!(matches!(error, CallError::Unsendable(_)), "{error}");
}

// A fifth descriptor finds no room, and so does any when the process may open no more: the kernel makes
// the others all the same.
#[test]
fn a_message_with_too_many_descriptors_is_refused_and_leaves_none_open() {
    for sent in [5, 9, 200] {
        let place = Place::new(&format!("descriptors-{sent}"));
        let listener = Listener::bind(&place.socket).unwrap();
        let (mut reader, writer) = pipe().map(|(r, w)| (File::from(r), w)).unwrap();

        let client = raw(&place);
        let writers: Vec<_> = (0..sent).map(|_| writer.as_raw_fd()).collect();
        let line = b"{\"env\":{},\"descriptors\":[]}\n";
        let rights = [ControlMessage::ScmRights(&writers)];
        sendmsg::<()>(client.as_raw_fd(), &[IoSlice::new(line)], &rights, MsgFlags::empty(), None)
            .unwrap();
        let error = listener.accept().unwrap().receive(LONG).unwrap_err();
        drop(writer);

        assert!(matches!(&error, ReceiveError::Malformed(_)), "{error}");
        assert!(error.to_string().contains("too many descriptors"), "{error}");
        // Its end comes once nobody has the other side open.
        let mut polled = [PollFd::new(reader.as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut polled, PollTimeout::ZERO), Ok(1), "{sent}: some are still open");
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }
}

// Whoever can connect is root, and may still be wrong: neither a message nor a file is read without end.
#[test]
fn a_message_and_a_stdin_are_taken_up_to_their_longest_and_no_further() {
    let place = Place::new("longest");
    let listener = Listener::bind(&place.socket).unwrap();
    let sends = |message: &[u8], files: &[i32]| {
        let client = raw(&place);
        let rights = [ControlMessage::ScmRights(files)];
        let rights = if files.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(message)];
        sendmsg::<()>(client.as_raw_fd(), &parts, rights, MsgFlags::empty(), None).unwrap();
        let received = listener.accept().unwrap().receive(LONG);
        received.map(|request| request.stdin.len()).map_err(|error| error.to_string())
    };
    let line = b"{\"env\":{},\"descriptors\":[]}\n";
    let message = |length: usize| [&line[..], &b"x".repeat(length - line.len())].concat();
    let file = |length: usize| {
        let path = place.socket.with_extension("stdin");
        File::create(&path).unwrap().set_len(length as u64).unwrap();
        let file = File::open(path).unwrap();
        sends(b"{\"env\":{},\"descriptors\":[\"stdin\"]}\n", &[file.as_raw_fd()])
    };

    assert_eq!(sends(&message(128 << 10), &[]), Ok((128 << 10) - line.len()));
    let error = sends(&message((128 << 10) + 1), &[]).unwrap_err();
    assert!(error.contains("the message is longer than 128 KiB"), "{error}");
    assert_eq!(file(rpc::MAX_STDIN), Ok(16 << 20));
    let error = file(rpc::MAX_STDIN + 1).unwrap_err();
    assert!(error.contains("stdin is longer than 16 MiB"), "{error}");
}

#[test]
fn only_root_can_connect_and_only_one_daemon_listens() {
    let place = Place::new("bind");
    let listener = Listener::bind(&place.socket).unwrap();

    let error = Listener::bind(&place.socket).unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let mode = fs::metadata(&place.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(listener);
    assert!(Listener::bind(&place.socket).is_ok());
}

#[test]
fn a_daemon_whose_socket_is_removed_or_replaced_listens_again_and_whoever_waits_moves_on() {
    const CHANGES: &[Change] = &[
        ("removed", |socket| fs::remove_file(socket).unwrap()),
        ("replaced", |socket| {
            fs::remove_file(socket).unwrap();
            fs::write(socket, "").unwrap();
        }),
        ("with its folder", |socket| fs::remove_dir_all(socket.parent().unwrap()).unwrap()),
    ];
    let place = Place::new("again");
    let listener = Listener::bind(&place.socket).unwrap();
    for (what, change) in CHANGES {
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let connection = listener.accept().unwrap();
                connection.receive(LONG).unwrap();
                connection.reply(&Reply { exit_code: 7, stdout: String::new() }).unwrap();
            });
            // It waits at the old socket then, mostly.
            thread::sleep(SHORT);
            change(&place.socket);
            assert!(listener.keep_bound().unwrap(), "{what}");
            assert!(!listener.keep_bound().unwrap(), "{what}");

            let reply = call(&place.socket, &Request::default(), LONG).unwrap();

            assert_eq!(reply.exit_code, 7, "{what}");
            waits.join().unwrap();
        });
        let second = Listener::bind(&place.socket).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse, "{what}");
    }
}

#[test]
fn whoever_waits_before_the_socket_can_be_bound_is_called_once_it_is() {
    let place = Place::new("unbound");
    fs::remove_dir_all(place.socket.parent().unwrap()).unwrap();
    fs::write(place.socket.parent().unwrap(), "").unwrap();
    let listener = Listener::unbound(&place.socket);
    listener.keep_bound().unwrap_err();
    thread::scope(|scope| {
        let waits = scope.spawn(|| listener.accept().unwrap().receive(LONG).unwrap());
        thread::sleep(SHORT);
        fs::remove_file(place.socket.parent().unwrap()).unwrap();
        listener.keep_bound().unwrap();

        // Nobody answers: what counts is that the call arrives.
        let _ = call(&place.socket, &Request::default(), LONG);

        waits.join().unwrap();
    });
}

#[test]
fn a_daemon_that_ends_answers_who_called_before_and_refuses_who_calls_after() {
    let place = Place::new("ends");
    let listener = Listener::bind(&place.socket).unwrap();
    let found_before = place.socket.with_extension("found-before");
    fs::hard_link(&place.socket, &found_before).unwrap();
    let before = raw(&place);
    nix::unistd::write(before.as_fd(), b"{\"env\":{},\"descriptors\":[]}\n").unwrap();

    listener.close();

    for path in [&place.socket, &found_before] {
        let refused = call(path, &Request::default(), LONG).unwrap_err();
        assert!(matches!(refused, CallError::NobodyListens(_)), "{refused}");
        assert!(refused.is_absence(), "{refused}");
    }
    listener.accept().unwrap().receive(LONG).unwrap();
    assert!(listener.accept().is_err() && listener.is_closed());
    assert!(!listener.keep_bound().unwrap(), "a folder that is looked after");
    assert!(!place.socket.exists());
}

#[test]
fn a_daemon_learns_that_the_caller_left() {
    let place = Place::new("left");
    let listener = Listener::bind(&place.socket).unwrap();
    let caller = {
        let socket = place.socket.clone();
        thread::spawn(move || call(&socket, &Request::default(), Duration::from_millis(300)))
    };
    let connection = listener.accept().unwrap();

    connection.receive(LONG).unwrap();
    let before = connection.caller_left();
    let answer = caller.join().unwrap();

    assert!(!before);
    assert!(matches!(answer, Err(CallError::NoAnswer(_))));
    assert!(connection.caller_left());
    assert!(connection.reply(&Reply { exit_code: 0, stdout: String::new() }).is_err());
}

#[test]
fn a_caller_that_says_nothing_does_not_hold_the_daemon() {
    let place = Place::new("silent");
    let listener = Listener::bind(&place.socket).unwrap();
    let silent = raw(&place);

    let connection = listener.accept().unwrap();
    assert!(matches!(connection.receive(SHORT), Err(ReceiveError::TimedOut(_))));
    drop(silent);

    assert!(matches!(connection.receive(LONG), Err(ReceiveError::Closed)));
}

#[test]
fn nonsense_is_no_request() {
    let place = Place::new("nonsense");
    let listener = Listener::bind(&place.socket).unwrap();
    let pipe_as_stdin = r#"{"env":{},"descriptors":["stdin"]}"#;

    for frame in ["hello", "hello\n", "{\"env\":1}\n", &format!("{pipe_as_stdin}\n")] {
        let caller = raw(&place);
        nix::unistd::write(caller.as_fd(), frame.as_bytes()).unwrap();

        let received = listener.accept().unwrap().receive(LONG);

        assert!(matches!(received, Err(ReceiveError::Malformed(_))), "{frame}");
    }
}

/// A connection of someone who does not know the protocol.
fn raw(place: &Place) -> std::os::fd::OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let socket =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(&place.socket).unwrap()).unwrap();
    socket
}

struct Place {
    socket: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("eni-rpc-{}-{name}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self { socket: dir.join(rpc::SOCKET_NAME) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.socket.parent().unwrap());
    }
}
