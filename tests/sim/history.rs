//! What happens in a run, drawn from a seed before it begins: steps can be left out, the rest stays.

use crate::{dice::Dice, witnesses::Left};
use pool::{Mode, Targets, Time};
use std::time::Duration;

/// Subnets of pods in the nodes' zone.
pub(crate) const POD_SUBNETS: usize = 3;

/// Number of the subnet in another zone, after those of the pods.
pub(crate) const OTHER_ZONE: usize = POD_SUBNETS;

/// Number of a subnet that does not exist.
pub(crate) const NOWHERE: usize = POD_SUBNETS + 1;

/// Security groups.
pub(crate) const GROUPS: usize = 3;

/// What kind of world a seed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One node and its pods.
    OneNode,
    /// Nodes that share subnets.
    Cluster,
}

/// The world as it begins.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) instance_type: &'static str,
    pub(crate) targets: Targets,
    pub(crate) max_pods: Option<usize>,
    /// Custom networking from the beginning.
    pub(crate) custom: bool,
    /// Prefix length of the pods' subnets.
    pub(crate) bits: u8,
    /// Interfaces that the launch template attached, and whether they are not to be managed.
    pub(crate) attached: Vec<PreAttached>,
    /// Other tenants are still there when demand is judged.
    pub(crate) tenants_stay: bool,
    /// So many teams have tags in the settings.
    pub(crate) teams: usize,
}

/// An interface that a node is born with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PreAttached {
    /// In the pods' first subnet.
    Foreign,
    /// Made by whoever served the node before, with pods that run.
    Served,
    /// Tagged `no_manage`.
    Unmanaged,
    /// In the pods' first subnet, with addresses for pods.
    Template,
}

/// Something that happens to a node or its VPC.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Time,
    pub(crate) node: usize,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A pod starts; its ADD waits so long for an address.
    Add { pod: u32, patience: Duration },
    /// The runtime repeats the ADD of a container.
    AddAgain { pod: u32 },
    /// A pod ends; for one that has ended, the DEL is repeated.
    Del { pod: u32 },
    /// DEL of a container that never was.
    DelUnknown,
    /// The daemon is killed, and comes back after a while.
    Restart { down: Duration },
    /// The daemon dies before it writes to its record, after so many other writes.
    DieAtWrite { after: u32 },
    /// The record cannot be written to for a while.
    RecordFull { lasts: Duration },
    /// The daemon is killed, and comes back after a while with settings that ask for tags of so many
    /// teams.
    Retag { teams: usize, down: Duration },
    /// The daemon is killed, its record is lost, and it comes back after a while.
    LoseRecord { left: Left, down: Duration },
    /// The daemon is killed, somebody else goes on from its checkpoint, ends pods and makes some, and
    /// the daemon comes back after a while.
    ServeByAnother { ends: Vec<u32>, starts: usize, down: Duration },
    /// EC2 misbehaves for a while: towards this node, or towards all.
    Fault { fault: Fault, lasts: Duration, all: bool },
    /// The ENIConfig is edited.
    Config(Config),
    /// Other tenants take addresses of a subnet of pods, at random.
    Occupy { subnet: usize, addresses: u32 },
    /// Other tenants take one address in each /28 of a subnet of pods.
    Fragment { subnet: usize },
    /// The tenant that came first leaves.
    Vacate,
    /// What the daemon sees lacks something for a while.
    Stale { lack: Lack, lasts: Duration },
    /// The kernel is late with devices that are attached from now on.
    LateDevices { by: Duration },
    /// Somebody unknown may hold a free address; a while later it is clear that nobody does.
    Quarantine { lasts: Duration },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttle,
    Unavailable,
    LostReply,
    Denied,
    Slow,
    DeviceLate,
    /// Descriptions show what was so long ago.
    ListsLate(Duration),
    /// The metadata service learns of changes so much later.
    MetadataLate(Duration),
    /// It lists what is gone.
    MetadataGhosts,
    /// It lists less than there is, or nothing.
    MetadataShort,
    /// It does not answer.
    MetadataSilent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Config {
    Missing,
    Supply { subnets: Vec<usize>, groups: Vec<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The interface of this rank.
    Eni(usize),
    /// All blocks of every interface but the first so many.
    Blocks(usize),
}

impl Setup {
    pub(crate) fn draw(seed: u64, kind: Kind) -> Self {
        let dice = &mut Dice(seed);
        let prefixes = dice.percent(40);
        let warm_addresses = dice.percent(40).then(|| dice.size(12));
        let minimum_addresses = dice.percent(25).then(|| dice.size(30));
        let targets = Targets {
            mode: if prefixes { Mode::Prefixes } else { Mode::Addresses },
            warm_enis: *dice.one(&[0, 1, 1, 1, 2]),
            warm_prefixes: *dice.one(&[0, 1, 1, 2]),
            warm_addresses,
            minimum_addresses,
            cooldown: Duration::from_secs(*dice.one(&[0, 10, 30, 30, 60])),
        };
        let attached = match dice.below(10) {
            0 => vec![PreAttached::Foreign],
            1 => vec![PreAttached::Unmanaged],
            2 => vec![PreAttached::Template],
            // Nodes that share subnets would not all have room for it.
            3 if kind == Kind::OneNode => vec![PreAttached::Served],
            _ => vec![],
        };
        Self {
            seed,
            nodes: match kind {
                Kind::OneNode => 1,
                Kind::Cluster => 2 + dice.size(7),
            },
            instance_type: dice.one::<&str>(&["t3.small", "t3.medium", "m5.large", "c5.xlarge"]),
            targets,
            max_pods: dice.percent(30).then(|| 4 + dice.size(40)),
            custom: dice.percent(70),
            bits: *dice.one(&[24, 25, 26, 27]),
            attached,
            tenants_stay: dice.percent(50),
            teams: dice.size(3),
        }
    }
}

/// Draws what happens.
pub(crate) fn steps(setup: &Setup) -> Vec<Step> {
    let mut dice = Dice(setup.seed ^ 0x5eed);
    let count = 30 + dice.size(50) + 10 * setup.nodes;
    let mut story = Story {
        dice,
        setup,
        at: Time::default(),
        next_pod: 0,
        running: vec![],
        lags_until: Time::default(),
    };
    let mut steps = vec![];
    while steps.len() < count {
        story.pass();
        let node = story.dice.size(setup.nodes);
        let batch = story.batch(node);
        steps.extend(batch.into_iter().map(|what| Step { at: story.at, node, what }));
    }
    steps
}

struct Story<'a> {
    dice: Dice,
    setup: &'a Setup,
    at: Time,
    next_pod: u32,
    /// Pods that were started and not ended, with their nodes.
    running: Vec<(usize, u32)>,
    /// Until then what is read lags, and what restarts is misled most.
    lags_until: Time,
}

impl Story<'_> {
    fn pass(&mut self) {
        let millis = match self.dice.below(20) {
            0..9 => self.dice.below(400),
            9..17 => self.dice.below(15_000),
            17..19 => self.dice.below(120_000),
            _ => 200_000 + self.dice.below(400_000),
        };
        self.at = self.at + Duration::from_millis(millis);
    }

    fn batch(&mut self, node: usize) -> Vec<What> {
        let seconds = |dice: &mut Dice, most: u64| Duration::from_millis(dice.below(most * 1_000));
        let dice = &mut self.dice;
        if self.at < self.lags_until && dice.percent(15) {
            return vec![What::Restart { down: seconds(dice, 2) }];
        }
        let one = match dice.below(100) {
            0..20 => self.add(node),
            20..27 => return (0..3 + self.dice.size(12)).map(|_| self.add(node)).collect(),
            27..47 => return self.del(node).into_iter().collect(),
            47..53 => return (0..10).filter_map(|_| self.del(node)).collect(),
            53..57 => {
                // As a StatefulSet: one ends, and its successor starts at once.
                let gone = self.del(node);
                return gone.into_iter().chain([self.add(node)]).collect();
            }
            57..61 => What::AddAgain { pod: self.any(node) },
            61..64 => What::Del { pod: dice.below(u64::from(self.next_pod) + 1) as u32 },
            64 => What::DelUnknown,
            65 => What::Restart { down: seconds(dice, 20) },
            66 => {
                let (starts, ends, down) = (dice.size(4), dice.size(4), seconds(dice, 20));
                let ends = (0..ends).filter_map(|_| self.ended(node)).collect();
                What::ServeByAnother { ends, starts, down }
            }
            67 => {
                let left = *dice.one(&[Left::Checkpoint, Left::Checkpoint, Left::Nothing]);
                What::LoseRecord { left, down: seconds(dice, 20) }
            }
            68..71 => What::Restart { down: seconds(dice, 2) },
            71..80 => self.fault(),
            80..83 => {
                let by = Duration::from_secs(*dice.one(&[2, 10, 45]));
                let lasts = seconds(dice, 120);
                self.lags_until = self.at + lasts;
                let late = [Fault::ListsLate(by), Fault::MetadataLate(by * 2)];
                return late.map(|fault| What::Fault { fault, lasts, all: true }).into();
            }
            83..86 => What::Config(self.config()),
            86..89 => {
                let addresses = 1 + dice.below(1 << (32 - self.setup.bits)) as u32;
                What::Occupy { subnet: dice.size(POD_SUBNETS), addresses }
            }
            89..91 => What::Fragment { subnet: dice.size(POD_SUBNETS) },
            91..93 => What::Vacate,
            93..96 => {
                let nth = dice.size(4);
                let lack = if dice.percent(50) { Lack::Eni(nth) } else { Lack::Blocks(nth) };
                What::Stale { lack, lasts: seconds(dice, 60) }
            }
            96 if dice.percent(50) => What::DieAtWrite { after: dice.below(12) as u32 },
            97 if dice.percent(30) => What::RecordFull { lasts: seconds(dice, 20) },
            96..98 => What::LateDevices { by: seconds(dice, 90) },
            98 => What::Quarantine { lasts: seconds(dice, 300) },
            _ => What::Retag { teams: dice.size(3), down: seconds(dice, 20) },
        };
        vec![one]
    }

    fn fault(&mut self) -> What {
        let dice = &mut self.dice;
        let by = Duration::from_secs(*dice.one(&[2, 10, 45]));
        let fault = *dice.one(&[
            Fault::Throttle,
            Fault::Unavailable,
            Fault::LostReply,
            Fault::Denied,
            Fault::Slow,
            Fault::DeviceLate,
            Fault::ListsLate(by),
            Fault::MetadataLate(by),
            Fault::MetadataGhosts,
            Fault::MetadataShort,
            Fault::MetadataSilent,
        ]);
        let lasts = Duration::from_millis(dice.below(120_000));
        What::Fault { fault, lasts, all: dice.percent(40) }
    }

    fn add(&mut self, node: usize) -> What {
        let pod = self.next_pod;
        self.next_pod += 1;
        self.running.push((node, pod));
        let patience = *self.dice.one(&[0, 2_000, 20_000, 50_000]);
        What::Add { pod, patience: Duration::from_millis(patience) }
    }

    fn del(&mut self, node: usize) -> Option<What> {
        Some(What::Del { pod: self.ended(node)? })
    }

    /// A pod that ends now.
    fn ended(&mut self, node: usize) -> Option<u32> {
        let here = |(_, (on, _)): &(usize, &(usize, u32))| *on == node;
        let here: Vec<usize> =
            self.running.iter().enumerate().filter(here).map(|(at, _)| at).collect();
        if here.is_empty() {
            return None;
        }
        let (_, pod) = self.running.remove(*self.dice.one(&here));
        Some(pod)
    }

    fn any(&mut self, node: usize) -> u32 {
        let here: Vec<u32> =
            self.running.iter().filter(|(on, _)| *on == node).map(|(_, pod)| *pod).collect();
        if here.is_empty() { u32::MAX } else { *self.dice.one(&here) }
    }

    fn config(&mut self) -> Config {
        let dice = &mut self.dice;
        let subnets = match dice.below(10) {
            0 => return Config::Missing,
            1 => vec![NOWHERE],
            2 => vec![OTHER_ZONE],
            3..6 => vec![dice.size(POD_SUBNETS)],
            6..8 => vec![0],
            _ => {
                let first = dice.size(POD_SUBNETS);
                vec![first, (first + 1) % POD_SUBNETS]
            }
        };
        let first = dice.size(GROUPS);
        let groups = if dice.percent(30) { vec![first, (first + 1) % GROUPS] } else { vec![0] };
        Config::Supply { subnets, groups }
    }
}
