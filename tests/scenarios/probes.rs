//! Traffic that goes on and counts: numbered datagrams, a connection that lasts, and ever new flows.
//! Each waits for its answer before it goes on, so that what is lost is known by its number.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, Scope, ScopedJoinHandle},
    time::Duration,
};

/// Where answers come from: what a service of the tests carries by UDP, and one beside it for TCP.
pub(crate) const UDP: u16 = 7777;
pub(crate) const TCP: u16 = 7778;

/// The longest wait for an answer: far more than a busy machine needs, so that what has not come is
/// lost.
const LIMIT: Duration = Duration::from_secs(5);

/// How long an answerer waits until it looks whether all is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Between two datagrams of a probe: a thousand a second are more than a gap of one packet can hide
/// in, and leave the machine to those that are watched.
const PACE: Duration = Duration::from_millis(1);

/// What a probe has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How many it has sent.
    pub(crate) sent: u64,
    /// What was wrong, by its number.
    pub(crate) wrong: Vec<String>,
}

/// A place that answers, and what it is to see as the source of what it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) at: Ipv4Addr,
    pub(crate) udp: u16,
    pub(crate) tcp: u16,
    pub(crate) source: Ipv4Addr,
}

/// Answers to datagrams and connections in a namespace with the address that asked and what it
/// said, until all is over.
pub(crate) fn answer<'scope>(
    scope: &'scope Scope<'scope, '_>,
    namespace: &Path,
    over: &'scope AtomicBool,
) {
    let open = || {
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, UDP))?;
        datagrams.set_read_timeout(Some(LOOK_EVERY))?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TCP))?;
        listener.set_nonblocking(true)?;
        Ok((datagrams, listener))
    };
    let (datagrams, listener) = net::netns::within(namespace, open).unwrap();
    scope.spawn(move || {
        let mut buffer = [0; 64];
        while !over.load(Ordering::Relaxed) {
            let Ok((length, source)) = datagrams.recv_from(&mut buffer) else { continue };
            let said = String::from_utf8_lossy(&buffer[..length]);
            // One who has gone away does not matter.
            let _ = datagrams.send_to(format!("{} {said}", source.ip()).as_bytes(), source);
        }
    });
    scope.spawn(move || {
        while !over.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, source)) => drop(scope.spawn(move || echo(stream, source.ip()))),
                Err(_) => thread::sleep(LOOK_EVERY),
            }
        }
    });
}

/// Answers each line of a connection until its other side closes it.
fn echo(stream: TcpStream, source: IpAddr) {
    let again = || -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        for line in BufReader::new(stream).lines() {
            writer.write_all(format!("{source} {}\n", line?).as_bytes())?;
        }
        Ok(())
    };
    // The other side tells what it misses.
    let _ = again();
}

/// One flow of numbered datagrams, each of which must be answered.
pub(crate) fn datagrams<'scope>(
    scope: &'scope Scope<'scope, '_>,
    from: &Path,
    to: Target,
    over: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, Seen> {
    let socket = net::netns::within(from, || connected(&to)).unwrap();
    scope.spawn(move || {
        go_on(over, |number| {
            socket.send(number.to_string().as_bytes())?;
            answered(&socket, number, &to)
        })
    })
}

/// Ever new flows of one datagram each.
pub(crate) fn flows<'scope>(
    scope: &'scope Scope<'scope, '_>,
    from: &Path,
    to: Target,
    over: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, Seen> {
    let from = from.to_owned();
    let all = move || {
        Ok(go_on(over, |number| {
            let socket = connected(&to)?;
            socket.send(number.to_string().as_bytes())?;
            answered(&socket, number, &to)
        }))
    };
    scope.spawn(move || net::netns::within(&from, all).unwrap())
}

/// One connection that carries numbered lines and must never break.
pub(crate) fn connection<'scope>(
    scope: &'scope Scope<'scope, '_>,
    from: &Path,
    to: Target,
    over: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, Seen> {
    let open = || {
        let stream = TcpStream::connect_timeout(&(to.at, to.tcp).into(), LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    };
    let mut stream = net::netns::within(from, open)
        .unwrap_or_else(|error| panic!("connect to {}: {error}", to.name));
    scope.spawn(move || {
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        go_on(over, |number| {
            stream.write_all(format!("{number}\n").as_bytes())?;
            let mut line = String::new();
            lines.read_line(&mut line)?;
            check(line.trim_end(), number, &to)
        })
    })
}

/// Repeats a probe until all is over or the first thing is wrong: after that nothing is as expected.
fn go_on(over: &AtomicBool, mut probe: impl FnMut(u64) -> io::Result<()>) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) && seen.wrong.is_empty() {
        seen.sent += 1;
        if let Err(error) = probe(seen.sent) {
            seen.wrong.push(format!("{}: {error}", seen.sent));
        }
        thread::sleep(PACE);
    }
    seen
}

fn connected(to: &Target) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect(SocketAddr::from((to.at, to.udp)))?;
    Ok(socket)
}

fn answered(socket: &UdpSocket, number: u64, to: &Target) -> io::Result<()> {
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    check(&String::from_utf8_lossy(&buffer[..length]), number, to)
}

fn check(answer: &str, number: u64, to: &Target) -> io::Result<()> {
    let want = format!("{} {number}", to.source);
    if answer == want {
        Ok(())
    } else {
        Err(io::Error::other(format!("{}: answered {answer:?}, expected {want:?}", to.name)))
    }
}
