//! The daemon is killed at random moments, again and again, while pods come and go, streams run, and EC2
//! answers badly: at the end record, kernel, EC2 and pods agree.

use crate::{
    bad_days::{custom_world, nothing_is_left_over},
    probes::{self, Target},
};
use record::Journal;
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tests::{
    command::{until, until_within},
    prober::Prober,
    world::{CUSTOM, Pod, World},
};

/// How often it is killed, unless `KILLS` says otherwise.
const KILLS: usize = 15;

/// The longest that it lives between two kills, in milliseconds: some are killed while they start.
const LONGEST_LIFE: u64 = 1_500;

/// Clients that start and end pods, each one after the other.
const CLIENTS: usize = 3;

/// How likely a call of EC2 meets each of these.
const FAULTS: [&str; 3] = ["throttle", "error", "lost-reply"];
const PROBABILITY: &str = "0.03";

/// What became of the last call that was not answered is asked a minute after it.
const SETTLED: Duration = Duration::from_secs(150);

/// Few addresses beyond those in use, so that interfaces and addresses come and go.
const SETTINGS: &[&str] = &["WARM_IP_TARGET=2", "MINIMUM_IP_TARGET=2", "IP_COOLDOWN_PERIOD=1"];

#[test]
fn a_daemon_that_is_killed_at_random_moments_leaks_nothing_and_breaks_no_stream() {
    let kills = number("KILLS").unwrap_or(KILLS as u64) as usize;
    let seed = number("KILLS_SEED").unwrap_or_else(now);
    let settings = [CUSTOM, SETTINGS].concat();
    let world = custom_world();
    world.daemon_start("n1", &settings);
    let staying: Vec<Pod> = (0..4).map(|pod| world.pod_add("n1", &format!("stays{pod}"))).collect();
    for fault in FAULTS {
        world.sim(&["fault", "add", fault, "--probability", PROBABILITY]);
    }
    let (over, streams_over, answers_over) =
        (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let (started, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let prober = Prober::start(&staying);

    let seen = thread::scope(|scope| {
        // Also when something fails: the threads would go on for ever.
        let ends = [&over, &streams_over, &answers_over].map(End);
        for pod in &staying[1..] {
            probes::answer(scope, &pod.namespace, &answers_over);
        }
        let streams = staying[1..].iter().map(|to| {
            let from = &staying[0];
            let (udp, tcp) = (probes::UDP, probes::TCP);
            let to = Target { name: "pod", at: to.address, udp, tcp, source: from.address };
            probes::connection(scope, &from.namespace, to, &streams_over)
        });
        let streams: Vec<_> = streams.collect();
        let clients = (0..CLIENTS).map(|client| {
            let (world, over, started, ended) = (&world, &over, &started, &ended);
            scope.spawn(move || come_and_go(world, client, over, started, ended))
        });
        let clients: Vec<_> = clients.collect();
        let mut dice = Dice(seed);
        for _ in 0..kills {
            thread::sleep(Duration::from_millis(dice.below(LONGEST_LIFE)));
            world.daemon_kill("n1");
            world.daemon_start("n1", &settings);
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        streams_over.store(true, Ordering::Relaxed);
        let seen: Vec<_> = streams.into_iter().map(|it| it.join().unwrap()).collect();
        drop(ends);
        seen
    });

    let told =
        format!("KILLS_SEED={seed}, {} pods started, {} ended", count(&started), count(&ended));
    for stream in seen {
        assert_eq!(stream.wrong, Vec::<String>::new(), "{told}: {} sent", stream.sent);
        assert!(stream.sent > 10, "{told}: only {} sent", stream.sent);
    }
    prober.end().check();
    assert!(count(&started) > CLIENTS, "{told}");
    world.sim(&["fault", "clear"]);
    all_agree(&world, &staying, &told);
    for pod in &staying {
        world.pod_rm(pod);
    }
    all_agree(&world, &[], &told);
    let addresses: Vec<Ipv4Addr> = staying.iter().map(|pod| pod.address).collect();
    until("nothing of pods is left in the kernel", || {
        let left = world.traces("n1").of_pods(addresses.iter().copied());
        if left.is_empty() { Ok(()) } else { Err(format!("{told}: {left:?}")) }
    });
}

/// Starts a pod and ends it, again and again. Its start may fail while there is no daemon or EC2 gives no
/// address; kubelet would try again. Its end never does.
fn come_and_go(
    world: &World,
    client: usize,
    over: &AtomicBool,
    started: &AtomicUsize,
    ended: &AtomicUsize,
) {
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("c{client}-{round}");
        if let Ok(pod) = world.try_pod_add("n1", &name) {
            started.fetch_add(1, Ordering::Relaxed);
            world.pod_rm(&pod);
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until record, EC2 and the metrics know these pods and no others, and the interfaces as EC2 has them.
#[track_caller]
fn all_agree(world: &World, pods: &[Pod], told: &str) {
    nothing_is_left_over(world);
    let addresses: BTreeSet<Ipv4Addr> = pods.iter().map(|pod| pod.address).collect();
    until_within(SETTLED, "record, EC2 and pods agree", || {
        let record = Journal::read(world.node_folder("n1").run().as_ref());
        let snapshot = record.map_err(|error| error.to_string())?.snapshot;
        let recorded: BTreeSet<Ipv4Addr> =
            snapshot.attachments.values().map(|it| it.address).collect();
        if recorded != addresses {
            return Err(format!("{told}: on record {recorded:?}, pods {addresses:?}"));
        }
        let unfinished = (&snapshot.intents, &snapshot.discarded);
        if !(snapshot.intents.is_empty() && snapshot.discarded.is_empty()) {
            return Err(format!("{told}: unfinished: {unfinished:?}"));
        }
        let of_record: BTreeMap<&str, BTreeSet<Ipv4Addr>> = snapshot
            .interfaces
            .iter()
            .map(|(id, it)| (id.as_str(), it.addresses.clone()))
            .collect();
        let node = world.node("n1");
        let of_ec2: BTreeMap<&str, BTreeSet<Ipv4Addr>> = node
            .interfaces
            .iter()
            .map(|it| (it.id.as_str(), it.secondary.iter().copied().collect()))
            .collect();
        if of_record != of_ec2 {
            return Err(format!("{told}: on record {of_record:?}, in EC2 {of_ec2:?}"));
        }
        Ok(())
    });
    world.everybody_reaches_everybody(pods);
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Ends what runs when it goes.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn count(number: &AtomicUsize) -> usize {
    number.load(Ordering::Relaxed)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: give a number")))
}
