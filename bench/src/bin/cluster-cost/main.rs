//! What a cluster costs in EC2 calls and in time until pods can start: ours, the peer's, the bound.
//!
//! Virtual time. Our nodes are the real pool; the peer's are its calls, in its order, with its
//! retries (`docs/references.md#peer-calls`). Both meet the buckets of the simulated VPC.

mod peer;

use peer::{Failure, PEER_BOOT, PEER_RESTART, Peer};
use pool::{
    Action, Block, Cause, Eni, EniId, Jitter, Lifetime, Limits, Mode, Observation, Owner,
    Ownership, Pool, Readiness, Refusal, Source, Supply, Targets, Time,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    io::{self, Write},
    time::Duration,
};
use vpc::{Action as Ec2Action, Breadth, Spec, Time as At, Vpc, admit::OUTSIDE};

/// From a call to its answer.
const LATENCY: Duration = Duration::from_millis(250);

/// From the answer of Attach until the machine has the device.
const DEVICE: Duration = Duration::from_secs(2);

/// An m5.large; one interface is enough for the pods of this table.
const LIMITS: Limits = Limits { enis: 3, max_enis: None, blocks_per_eni: 9, max_pods: None };
const TARGETS: Targets = Targets {
    mode: Mode::Addresses,
    warm_enis: 0,
    warm_prefixes: 0,
    warm_addresses: None,
    minimum_addresses: None,
    cooldown: Duration::from_secs(30),
};

/// Actions of EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Create,
    Attach,
    Modify,
    Delete,
    CreateTags,
    DescribeInterfaces,
    DescribeInstances,
    DescribeSubnets,
}

impl Call {
    /// EC2's name of it.
    fn action(self) -> Ec2Action {
        match self {
            Self::Create => Ec2Action::CREATE_NETWORK_INTERFACE,
            Self::Attach => Ec2Action::ATTACH_NETWORK_INTERFACE,
            Self::Modify => Ec2Action::MODIFY_NETWORK_INTERFACE_ATTRIBUTE,
            Self::Delete => Ec2Action::DELETE_NETWORK_INTERFACE,
            Self::CreateTags => Ec2Action::CREATE_TAGS,
            Self::DescribeInterfaces => Ec2Action::DESCRIBE_NETWORK_INTERFACES,
            Self::DescribeInstances => Ec2Action::DESCRIBE_INSTANCES,
            Self::DescribeSubnets => Ec2Action::DESCRIBE_SUBNETS,
        }
    }

    /// Capacity of its bucket, and tokens a second, for the bound
    /// (`docs/references.md#ec2-throttling`).
    fn bucket(self) -> (f64, f64) {
        match self {
            Self::Create | Self::Modify | Self::Delete => (100.0, 5.0),
            Self::Attach => (50.0, 5.0),
            Self::CreateTags => (100.0, 10.0),
            Self::DescribeInterfaces | Self::DescribeInstances | Self::DescribeSubnets => {
                (100.0, 20.0)
            }
        }
    }
}

/// Ours at boot; with a valid record there are none at a restart.
const OUR_BOOT: &[Call] = &[Call::Create, Call::Attach, Call::Modify];

/// EC2, as far as it counts calls.
struct Ec2 {
    vpc: Vpc,
    calls: BTreeMap<Call, usize>,
    throttled: usize,
}

impl Ec2 {
    fn new() -> Self {
        let vpc = Vpc::new(Spec::default()).expect("the default world is sound");
        Self { vpc, calls: BTreeMap::new(), throttled: 0 }
    }

    /// Whether a call is taken.
    fn takes(&mut self, call: Call, now: Duration) -> bool {
        *self.calls.entry(call).or_default() += 1;
        // None of them asks for everything that there is.
        let taken = self.vpc.admit(At(now), OUTSIDE, call.action(), Breadth::Some).is_ok();
        self.throttled += usize::from(!taken);
        taken
    }
}

/// A node that boots or begins anew.
trait Node {
    /// What happens now: when the next thing does, and whether the first pod has its address.
    fn turn(&mut self, ec2: &mut Ec2, now: Duration) -> (Option<Duration>, bool);
}

/// Ours: the real pool.
struct Ours {
    pool: Pool,
    action: Option<Action>,
    next: Next,
    created: bool,
    served: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Plan,
    Refused,
    Create,
    Attach,
    Device,
    Modify,
    Modified,
}

impl Ours {
    fn boot(seed: u64, nodes: u64) -> Self {
        let supply = Supply { subnets: vec!["subnet-pods".into()], groups: ["sg-1".into()].into() };
        let source = Source::EniConfig { name: "us-west-2a".into(), supply };
        let mut pool = Pool::new(TARGETS, LIMITS, source);
        let cluster = u32::try_from(nodes).unwrap_or(u32::MAX);
        pool.set_jitter(Jitter { nodes: cluster, seed });
        pool.observe(Observation::from([eni(0, 0)]), Time::default());
        pool.set_waiting(1);
        Self { pool, action: None, next: Next::Plan, created: false, served: false }
    }

    /// The interface is on record: the plan is what remains to do.
    fn restart(seed: u64, nodes: u64) -> Self {
        let mut node = Self::boot(seed, nodes);
        node.see_interface(Lifetime::Instance, Duration::ZERO);
        node
    }

    fn see_interface(&mut self, lifetime: Lifetime, now: Duration) {
        let (id, interface) = eni(1, LIMITS.blocks_per_eni);
        let seen = Observation::from([eni(0, 0), (id, Eni { lifetime, ..interface })]);
        self.pool.observe(seen, Time(now));
    }

    /// Serves the first pod, if there is an address for it. Whether that is news.
    fn serve(&mut self, now: Duration) -> bool {
        let owner = Owner {
            network: "aws-cni".into(),
            container: "first".into(),
            interface: "eth0".into(),
        };
        let served = self.pool.allocate(owner, Time(now)).is_ok();
        self.pool.set_waiting(usize::from(!served));
        served && !std::mem::replace(&mut self.served, served)
    }

    fn plan(&mut self, now: Duration) -> Option<Duration> {
        let plan = self.pool.plan(Time(now));
        let Some(action) = plan.actions.into_iter().next() else {
            return plan.wake_at.map(|at| at.0);
        };
        self.pool.started(&action);
        // What Create made is known: only Attach is repeated.
        let growth = if self.created { Next::Attach } else { Next::Create };
        let ends = matches!(action, Action::EndWithInstance { .. });
        self.next = if ends { Next::Modify } else { growth };
        self.action = Some(action);
        Some(now)
    }

    fn call(&mut self, ec2: &mut Ec2, call: Call, then: Next, now: Duration) -> Duration {
        let taken = ec2.takes(call, now);
        self.created |= taken && call == Call::Create;
        self.next = if taken { then } else { Next::Refused };
        now + LATENCY
    }
}

impl Node for Ours {
    fn turn(&mut self, ec2: &mut Ec2, now: Duration) -> (Option<Duration>, bool) {
        match self.next {
            Next::Plan => {
                let served = self.serve(now);
                (self.plan(now), served)
            }
            Next::Create => (Some(self.call(ec2, Call::Create, Next::Attach, now)), false),
            Next::Attach => {
                let answered = self.call(ec2, Call::Attach, Next::Device, now);
                let device = if self.next == Next::Device { DEVICE } else { Duration::ZERO };
                (Some(answered + device), false)
            }
            Next::Refused => {
                let action = self.action.take().expect("something was refused");
                let message = "RequestLimitExceeded".into();
                let refusal = Refusal { cause: Cause::Throttled, message };
                self.pool.refused(&action, refusal, Time(now));
                self.next = Next::Plan;
                (Some(now), false)
            }
            Next::Device => {
                self.see_interface(Lifetime::Own, now);
                let action = self.action.take().expect("an interface was attached");
                self.pool.succeeded(&action);
                self.next = Next::Plan;
                (Some(now), false)
            }
            Next::Modify => (Some(self.call(ec2, Call::Modify, Next::Modified, now)), false),
            Next::Modified => {
                self.see_interface(Lifetime::Instance, now);
                let action = self.action.take().expect("an interface was modified");
                self.pool.succeeded(&action);
                self.next = Next::Plan;
                (Some(now), false)
            }
        }
    }
}

struct Row {
    who: &'static str,
    ec2: Ec2,
    ready: Vec<Duration>,
}

/// All nodes begin at once.
fn run<N: Node>(who: &'static str, mut nodes: Vec<N>) -> Row {
    let mut ec2 = Ec2::new();
    let mut queue: BinaryHeap<Reverse<(Duration, usize)>> =
        (0..nodes.len()).map(|node| Reverse((Duration::ZERO, node))).collect();
    let mut ready = vec![];
    while let Some(Reverse((now, node))) = queue.pop() {
        let (next, has_address) = nodes[node].turn(&mut ec2, now);
        if has_address {
            ready.push(now);
        }
        queue.extend(next.map(|at| Reverse((at, node))));
    }
    assert_eq!(ready.len(), nodes.len(), "{who}: a node never had an address");
    Row { who, ec2, ready }
}

/// The time in which the buckets can serve every node (`docs/references.md#ec2-throttling`).
fn bound(nodes: u64, calls: &[Call]) -> f64 {
    let need = |call: &Call| {
        let (capacity, refill) = call.bucket();
        let each = calls.iter().filter(|it| *it == call).count() as f64;
        ((nodes as f64 * each - capacity) / refill).max(0.0)
    };
    calls.iter().map(need).fold(0.0, f64::max)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent: usize| {
            let rank = (self.ready.len() * percent).div_ceil(100).max(1) - 1;
            self.ready[rank].as_secs_f64()
        };
        let calls: usize = self.ec2.calls.values().sum();
        let by_action: Vec<String> =
            self.ec2.calls.iter().map(|(call, count)| format!("{call:?} {count}")).collect();
        write!(
            f,
            "| {} | {calls} | {} | {:.1} | {:.1} | {:.1} | {} |",
            self.who,
            self.ec2.throttled,
            at(50),
            at(99),
            at(100),
            by_action.join(", ")
        )
    }
}

fn main() -> io::Result<()> {
    let out = &mut io::stdout().lock();
    for nodes in [100, 1_000, 5_000] {
        writeln!(out, "\n{nodes} nodes boot at once, custom networking, one interface each")?;
        head(out)?;
        let ours = (0..nodes).map(|seed| Ours::boot(seed, nodes)).collect();
        writeln!(out, "{}", run("eni-cni", ours))?;
        for (who, how) in
            [("peer, as at its tick", Failure::Tick), ("peer, as it boots", Failure::Crash)]
        {
            let peers = (0..nodes).map(|seed| Peer::new(PEER_BOOT, how, seed)).collect();
            writeln!(out, "{}", run(who, peers))?;
        }
        // Modify is not waited for.
        let calls = OUR_BOOT.len() as u64 * nodes;
        let all = bound(nodes, &OUR_BOOT[..2]);
        writeln!(out, "| bound of the buckets | {calls} | 0 | | | {all:.1} | |")?;
    }
    let nodes = 5_000;
    writeln!(out, "\nthe DaemonSet of {nodes} nodes begins anew at once, one interface each")?;
    head(out)?;
    let ours = (0..nodes).map(|seed| Ours::restart(seed, nodes)).collect();
    writeln!(out, "{}", run("eni-cni, with its record", ours))?;
    for (who, how) in
        [("peer, as at its tick", Failure::Tick), ("peer, as it starts", Failure::Crash)]
    {
        let peers = (0..nodes).map(|seed| Peer::new(PEER_RESTART, how, seed)).collect();
        writeln!(out, "{}", run(who, peers))?;
    }
    Ok(())
}

fn head(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| who | calls | throttled | p50 s | p99 s | all s | calls by action |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")
}

/// An interface with so many addresses.
fn eni(device_index: u32, addresses: usize) -> (EniId, Eni) {
    let first = 0x6440_0000 + device_index * 256;
    let eni = Eni {
        device_index,
        subnet: if device_index == 0 { "subnet-node" } else { "subnet-pods" }.into(),
        groups: ["sg-1".into()].into(),
        blocks: (1..=addresses as u32).map(|host| Block::Address((first + host).into())).collect(),
        readiness: Readiness::Ready,
        ownership: Ownership::Ours,
        lifetime: Lifetime::Instance,
    };
    (EniId(format!("eni-{device_index}")), eni)
}
