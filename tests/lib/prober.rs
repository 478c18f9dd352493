//! Traffic among pods while something is done to them: each asks every other, again and again, and
//! every request is counted. The answer names who gave it, so that an address in two hands shows.

use crate::{command::until, http, world::Pod};
use serde_json::Value;
use std::{
    fmt::Write,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Where pods answer datagrams; connections are answered by the world.
const DATAGRAMS: u16 = 7781;
const CONNECTIONS: u16 = 80;

/// The longest wait for an answer to a datagram: far more than a busy machine needs.
const LIMIT: Duration = Duration::from_secs(5);

/// How long an answerer waits until it looks whether all is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Between two requests of a pod: ten pods ask some hundred times a second, which leaves the machine
/// to those that are watched.
const PACE: Duration = Duration::from_millis(20);

/// Pods that ask each other until it is ended or dropped. While it runs their namespaces are in use.
pub struct Prober {
    asking: Vec<JoinHandle<Tally>>,
    answering: Vec<JoinHandle<()>>,
    over: Arc<Over>,
    asked: Arc<AtomicU64>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub asked: u64,
    /// Those that got no answer: when, who asked whom, and why not.
    pub failed: Vec<String>,
    /// Those that another than the one who was asked answered, or that seemed to come from another.
    pub mistaken: Vec<String>,
    /// The longest that an answer took: a lost packet of a connection is sent again after a second.
    pub slowest: Duration,
}

/// Who answers is needed longer than who asks.
#[derive(Debug, Default)]
struct Over {
    asking: AtomicBool,
    answering: AtomicBool,
}

impl Prober {
    /// Starts with pods that serve.
    #[track_caller]
    pub fn start(pods: &[Pod]) -> Self {
        let (over, asked) = (Arc::new(Over::default()), Arc::new(AtomicU64::new(0)));
        let answering = pods.iter().map(|pod| answer(pod, Arc::clone(&over))).collect();
        let asking = pods.iter().map(|from| {
            let others: Vec<_> =
                pods.iter().filter(|to| to.address != from.address).cloned().collect();
            assert_eq!(others.len() + 1, pods.len(), "two pods have {}", from.address);
            ask(from.clone(), others, Arc::clone(&over), Arc::clone(&asked))
        });
        Self { asking: asking.collect(), answering, over, asked }
    }

    /// How many requests were answered or not, so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until every pod has asked every other again.
    #[track_caller]
    pub fn round(&self) {
        let pods = self.asking.len() as u64;
        // Nobody waits for others, so that some have asked more often when the last has.
        let want = self.asked() + 6 * pods * pods;
        until("each pod asks each", || {
            let asked = self.asked();
            if asked >= want { Ok(()) } else { Err(format!("{asked} of {want}")) }
        });
    }

    /// Ends it; what became of all requests.
    pub fn end(mut self) -> Tally {
        self.stop()
    }

    fn stop(&mut self) -> Tally {
        self.over.asking.store(true, Ordering::Relaxed);
        let tallies = self.asking.drain(..).map(|it| it.join().unwrap());
        let tally = tallies.fold(Tally::default(), Tally::with);
        self.over.answering.store(true, Ordering::Relaxed);
        for answering in self.answering.drain(..) {
            answering.join().unwrap();
        }
        tally
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if !self.asking.is_empty() {
            // Also when a test fails: the threads would hold the pods' namespaces.
            self.stop();
        }
    }
}

impl Tally {
    /// Asserts that every request was answered by the one who was asked.
    #[track_caller]
    pub fn check(&self) {
        let Self { asked, failed, mistaken, .. } = self;
        assert!(failed.is_empty() && mistaken.is_empty(), "{}", self.told());
        assert!(*asked > 0, "nobody asked anybody");
    }

    /// What was wrong, the first of each kind.
    fn told(&self) -> String {
        let Self { asked, failed, mistaken, slowest } = self;
        let mut told = format!(
            "of {asked} requests {} got no answer and {} that of another; the slowest took {slowest:?}",
            failed.len(),
            mistaken.len()
        );
        for line in failed.iter().take(10).chain(mistaken.iter().take(10)) {
            write!(told, "\n{line}").unwrap();
        }
        told
    }

    fn with(mut self, other: Self) -> Self {
        self.asked += other.asked;
        self.failed.extend(other.failed);
        self.mistaken.extend(other.mistaken);
        self.slowest = self.slowest.max(other.slowest);
        self
    }

    fn count(
        &mut self,
        what: &str,
        begun: Instant,
        (from, to): (&Pod, &Pod),
        answer: io::Result<(Answer, Duration)>,
    ) {
        self.asked += 1;
        let at = begun.elapsed().as_secs_f64();
        match answer {
            Err(error) => self.failed.push(format!("{at:.3} s: {what}: {error}")),
            Ok((Answer { name, source }, took)) => {
                self.slowest = self.slowest.max(took);
                if name != to.name || source != from.address {
                    self.mistaken.push(format!("{at:.3} s: {what}: {name} saw {source}"));
                }
            }
        }
    }
}

/// Who answered, and whom it saw.
struct Answer {
    name: String,
    source: Ipv4Addr,
}

/// Asks one after the other, by a new connection and by a datagram of a new flow.
fn ask(from: Pod, others: Vec<Pod>, over: Arc<Over>, asked: Arc<AtomicU64>) -> JoinHandle<Tally> {
    thread::spawn(move || {
        let all = || {
            let (mut tally, begun) = (Tally::default(), Instant::now());
            for to in others.iter().cycle() {
                for (kind, answer) in [("connect", connect(to)), ("send", send(to))] {
                    let what = format!("{} {kind} {}", from.name, to.name);
                    tally.count(&what, begun, (&from, to), answer);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                if over.asking.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(PACE);
            }
            Ok(tally)
        };
        net::netns::within(&from.namespace, all).unwrap()
    })
}

fn connect(to: &Pod) -> io::Result<(Answer, Duration)> {
    let asked = Instant::now();
    let at = SocketAddr::from((to.address, CONNECTIONS));
    let (status, body) = http::send(at, "GET /", "", "")?;
    let said: Value = serde_json::from_str(&body).map_err(io::Error::other)?;
    let source = said["source"].as_str().and_then(|it| it.parse().ok());
    let name = said["pod"].as_str().unwrap_or_default().to_owned();
    let source = source.ok_or_else(|| io::Error::other(format!("{status}: {body}")))?;
    Ok((Answer { name, source }, asked.elapsed()))
}

fn send(to: &Pod) -> io::Result<(Answer, Duration)> {
    let asked = Instant::now();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect((to.address, DATAGRAMS))?;
    socket.send(b"who?")?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer)?;
    let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let (name, source) = said.split_once(' ').unwrap_or_default();
    let source = source.parse().map_err(io::Error::other)?;
    Ok((Answer { name: name.into(), source }, asked.elapsed()))
}

/// Answers datagrams with the pod's name and who asked.
fn answer(pod: &Pod, over: Arc<Over>) -> JoinHandle<()> {
    let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DATAGRAMS));
    let socket = net::netns::within(&pod.namespace, bind).unwrap();
    socket.set_read_timeout(Some(LOOK_EVERY)).unwrap();
    let name = pod.name.clone();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while !over.answering.load(Ordering::Relaxed) {
            let Ok((_, from)) = socket.recv_from(&mut buffer) else { continue };
            // One who has gone away does not matter.
            let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
        }
    })
}
