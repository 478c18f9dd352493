//! EC2 as a node meets it: the rules of the simulated VPC, calls that take time, and faults.

use crate::{
    dice::Dice,
    history::{Fault, GROUPS, NOWHERE, OTHER_ZONE, POD_SUBNETS, Setup},
};
use pool::{Cause, Time};
use std::{collections::BTreeMap, time::Duration};
use steps::{Described, Refused};
use vpc::{
    Action, AttachmentState, Breadth, Ec2Error, EniId, InstanceId, Interface, Spec, Time as At,
    Vpc,
    admit::Course,
    assign::Wanted,
    create::CreateInterface,
    fault::{FaultSpec, Kind, Listing, Reply, Span},
    spec::{GroupSpec, ImdsSpec, Latency, SubnetSpec},
};

/// Until a refusal at the door.
const LATENCY: Duration = Duration::from_millis(250);

/// Until a client gives up waiting for an answer.
const LOST: Duration = Duration::from_secs(5);

/// The VPC, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) vpc: Vpc,
    /// Calls by action.
    pub(crate) calls: BTreeMap<&'static str, usize>,
    /// How often somebody met what can go wrong.
    pub(crate) met: BTreeMap<&'static str, usize>,
    /// How often a call was answered in a way that is not its result.
    pub(crate) answers: BTreeMap<Bad, usize>,
    dice: Dice,
    tenants: Vec<EniId>,
}

/// What can go wrong with calls and with the metadata, as it is counted.
pub(crate) const TROUBLES: [&str; 21] = [
    "throttle",
    "error",
    "deny",
    "lost reply",
    "slow",
    "device late",
    "no addresses",
    "no prefixes",
    "list of interfaces late",
    "count of subnets late",
    "metadata late",
    "metadata short",
    "metadata with ghosts",
    "metadata silent",
    "record lost",
    "pod of somebody else",
    "record superseded",
    "tags of the settings changed",
    "pod on no known interface",
    "death at a write",
    "record full",
];

/// A call, and how it was answered.
pub(crate) type Bad = (&'static str, &'static str);

/// What every call must meet. EC2 denies only what changes something, in this world.
pub(crate) fn every_answer() -> impl Iterator<Item = Bad> {
    let answers = |name| {
        let denied = CHANGES.contains(&name).then_some("denied");
        ["throttled", "unavailable", "lost"].into_iter().chain(denied).map(move |it| (name, it))
    };
    CHANGES.into_iter().chain(["Describe", "CountFree"]).flat_map(answers)
}

impl Cloud {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            vpc: Vpc::new(spec(setup)).expect("the specification is sound"),
            calls: BTreeMap::new(),
            met: BTreeMap::new(),
            answers: BTreeMap::new(),
            dice: Dice(setup.seed ^ 0xc10d),
            tenants: vec![],
        }
    }

    /// Makes a call: it is let in or not as at EC2's door, what it does is done at once, the answer
    /// comes later.
    pub(crate) fn call<T>(
        &mut self,
        now: Time,
        node: usize,
        name: &'static str,
        effect: impl FnOnce(&mut Vpc, At) -> Result<T, Ec2Error>,
    ) -> (Result<T, Refused>, Time) {
        let late = self.devices_late(now, name);
        let (course, due) = match self.enter(now, node, name) {
            Ok(course) => course,
            Err(refused) => return refused,
        };
        let answer = effect(&mut self.vpc, At(now.0));
        if self.devices_late(now, name) > late {
            self.meet("device late");
        }
        match course.reply {
            // The effect stays, the answer does not come.
            Reply::Lost => (Err(lost(name)), now + LOST),
            Reply::Sent => (answer.map_err(|error| self.refused(name, &error)), due),
        }
    }

    /// Reads, maybe what was some time ago: `read` gets the interfaces of that time.
    pub(crate) fn read<T>(
        &mut self,
        now: Time,
        node: usize,
        name: &'static str,
        read: impl Fn(&Vpc, &BTreeMap<EniId, Interface>) -> T,
    ) -> (Result<T, Refused>, Time)
    where
        T: PartialEq,
    {
        let (course, due) = match self.enter(now, node, name) {
            Ok(course) => course,
            Err(refused) => return refused,
        };
        let truth = read(&self.vpc, self.vpc.interfaces());
        let past = self.vpc.interfaces_as_of(At(now.0), course.lag);
        let answer = match past.map(|past| read(&self.vpc, &past)) {
            Some(old) if old != truth => {
                self.meet(match name {
                    "CountFree" => "count of subnets late",
                    _ => "list of interfaces late",
                });
                old
            }
            Some(_) | None => truth,
        };
        match course.reply {
            Reply::Lost => (Err(lost(name)), now + LOST),
            Reply::Sent => (Ok(answer), due),
        }
    }

    /// What the metadata service shows an instance; `None` when a client would ask again.
    pub(crate) fn metadata(
        &mut self,
        now: Time,
        node: usize,
        instance: &InstanceId,
    ) -> Option<Vec<Interface>> {
        let (at, name) = (At(now.0), node_name(node));
        if self.vpc.metadata_read(at, &name) == Reply::Lost {
            self.meet("metadata silent");
            return None;
        }
        if !self.vpc.ghosts(at, instance).is_empty() {
            // There is nothing below them: a client skips them.
            self.meet("metadata with ghosts");
        }
        let view = self.vpc.metadata(at, instance)?;
        let mut shown = view.interfaces.clone();
        let has = |id: &EniId| self.vpc.instances()[instance].interfaces.contains(id);
        let attached = self.vpc.instances()[instance].interfaces.len();
        let is_late = shown.len() != attached
            || shown.iter().any(|it| {
                !has(&it.id)
                    || self.vpc.interfaces().get(&it.id).is_none_or(|now| {
                        (&now.secondary, &now.prefixes) != (&it.secondary, &it.prefixes)
                    })
            });
        if is_late {
            self.meet("metadata late");
        }
        match self.vpc.metadata_listing(at, &name) {
            Listing::Whole => {}
            Listing::Short(nth) => {
                let nth = nth as usize % shown.len();
                shown.remove(nth);
                self.meet("metadata short");
            }
            Listing::Empty => {
                shown.clear();
                self.meet("metadata short");
            }
        }
        // A list without the primary interface is not worth listening to.
        let is_primary =
            |it: &Interface| it.attachment.as_ref().is_some_and(|at| at.device_index == 0);
        shown.iter().any(is_primary).then_some(shown)
    }

    /// At EC2's door: how the call goes, and when its answer comes.
    fn enter<T>(
        &mut self,
        now: Time,
        node: usize,
        name: &'static str,
    ) -> Result<(Course, Time), (Result<T, Refused>, Time)> {
        *self.calls.entry(name).or_default() += 1;
        // `docs/references.md#ec2-latency`.
        let more = Duration::from_millis(self.dice.below(350));
        // No call asks for everything that there is.
        match self.vpc.admit(At(now.0), &node_name(node), action(name), Breadth::Some) {
            Ok(course) => {
                if course.reply == Reply::Lost {
                    self.meet("lost reply");
                    *self.answers.entry((name, "lost")).or_default() += 1;
                }
                let usual = Latency::default();
                if course.latency > usual.change.max(usual.read) {
                    self.meet("slow");
                }
                Ok((course, now + course.latency + more))
            }
            Err(error) => Err((Err(self.refused(name, &error)), now + LATENCY + more)),
        }
    }

    fn refused(&mut self, action: &'static str, error: &Ec2Error) -> Refused {
        let (code, message) = (error.code.clone().into_owned(), error.message.clone());
        let refused = Refused { action, code, message };
        *self.answers.entry((action, refused.cause().word())).or_default() += 1;
        match refused.cause() {
            Cause::Throttled => self.meet("throttle"),
            Cause::Unavailable => self.meet("error"),
            Cause::Denied => self.meet("deny"),
            Cause::NoAddresses => self.meet("no addresses"),
            Cause::NoPrefixes => self.meet("no prefixes"),
            Cause::PrefixesUnsupported | Cause::Limit | Cause::Wrong => {}
        }
        refused
    }

    pub(crate) fn meet(&mut self, trouble: &'static str) {
        debug_assert!(TROUBLES.contains(&trouble), "{trouble} is not counted");
        *self.met.entry(trouble).or_default() += 1;
    }

    /// How often faults have made devices late, where a call can.
    fn devices_late(&self, now: Time, name: &str) -> u64 {
        if name != "Attach" {
            return 0;
        }
        let faults = self.vpc.faults(At(now.0));
        faults.iter().filter(|it| it.spec.kind == Kind::DeviceLate).map(|it| it.acted).sum()
    }

    /// Lets something go wrong, for a node or for all.
    pub(crate) fn fault(&mut self, node: Option<usize>, fault: Fault, lasts: Duration, now: Time) {
        let specs = match fault {
            Fault::Throttle => vec![FaultSpec::new(Kind::Throttle)],
            Fault::Unavailable => {
                let code = Some("Unavailable".into());
                vec![FaultSpec { code, ..FaultSpec::new(Kind::Error) }]
            }
            Fault::LostReply => vec![FaultSpec::new(Kind::LostReply)],
            Fault::Denied => {
                let deny = |name: &&'static str| {
                    let action = Some(action(name));
                    FaultSpec { action, ..FaultSpec::new(Kind::Deny) }
                };
                CHANGES.iter().map(deny).collect()
            }
            Fault::Slow => vec![FaultSpec::new(Kind::Slow)],
            Fault::DeviceLate => vec![FaultSpec::new(Kind::DeviceLate)],
            Fault::ListsLate(by) => {
                vec![FaultSpec { by: Some(Span(by)), ..FaultSpec::new(Kind::DescribeLag) }]
            }
            Fault::MetadataLate(by) => {
                vec![FaultSpec { by: Some(Span(by)), ..FaultSpec::new(Kind::ImdsLag) }]
            }
            Fault::MetadataGhosts => vec![FaultSpec::new(Kind::ImdsGhosts)],
            Fault::MetadataShort => {
                vec![FaultSpec::new(Kind::ImdsShort), FaultSpec::new(Kind::ImdsEmpty)]
            }
            Fault::MetadataSilent => vec![FaultSpec::new(Kind::ImdsUnavailable)],
        };
        let always = matches!(fault, Fault::Denied | Fault::Slow);
        for spec in specs {
            let spec = FaultSpec {
                node: node.map(node_name),
                lasts: Some(Span(lasts)),
                probability: if always { None } else { Some(0.6) },
                ..spec
            };
            self.vpc.add_fault(At(now.0), spec).expect("a fault that means something");
        }
    }

    pub(crate) fn end_faults(&mut self, now: Time) {
        self.vpc.clear_faults(At(now.0), None);
    }

    /// Other tenants take addresses.
    pub(crate) fn occupy(&mut self, subnet: usize, addresses: u32, now: Time) {
        let free = self.vpc.subnets()[&subnet_id(subnet)].free();
        if let Some(rest) = addresses.min(free).checked_sub(1) {
            self.tenant(subnet, Wanted::Count(rest), now);
        }
    }

    /// Other tenants take the first free address of each /28.
    pub(crate) fn fragment(&mut self, subnet: usize, now: Time) {
        let subnet_is = &self.vpc.subnets()[&subnet_id(subnet)];
        let first = u32::from(subnet_is.cidr.network());
        let addresses = (1..subnet_is.cidr.size() / 16)
            .map(|nth| std::net::Ipv4Addr::from(first + nth * 16))
            .filter(|address| subnet_is.owner(*address).is_none())
            .collect();
        if subnet_is.free() > 0 {
            self.tenant(subnet, Wanted::Addresses(addresses), now);
        }
    }

    fn tenant(&mut self, subnet: usize, wanted: Wanted, now: Time) {
        let request =
            CreateInterface { subnet_id: subnet_id(subnet), wanted, ..CreateInterface::default() };
        // The tenant's own primary address may be one of those that it wants: then it does not come.
        if let Ok(made) = self.vpc.create_network_interface(At(now.0), &request) {
            self.tenants.push(made.id.clone());
        }
    }

    /// The tenant that came first leaves; false when there is none.
    pub(crate) fn vacate(&mut self, now: Time) -> bool {
        if self.tenants.is_empty() {
            return false;
        }
        let gone = self.tenants.remove(0);
        self.vpc.delete_network_interface(At(now.0), gone.as_str()).expect("nobody attaches it");
        true
    }
}

fn lost(name: &'static str) -> Refused {
    Refused::odd(name, "no answer")
}

/// An interface as EC2 describes it. An attachment that is being undone is none any more.
pub(crate) fn described(is: &Interface, vpc: &Vpc) -> Described {
    let attachment = is.attachment.as_ref();
    let stays = attachment.filter(|it| it.state != AttachmentState::Detaching);
    Described {
        id: is.id.0.clone(),
        mac: net::Mac(is.mac.0),
        primary: is.primary,
        special_type: None,
        blocks: crate::node::blocks(is),
        groups: is.groups.iter().cloned().collect(),
        subnet: is.subnet_id.clone(),
        tags: vpc.tags(is.id.as_str()).cloned().unwrap_or_default(),
        card: attachment.map_or(0, |it| it.card_index),
        attachment: stays.map(|it| (it.id.0.clone(), it.device_index)),
        ends_with_instance: attachment.is_some_and(|it| it.delete_on_termination),
    }
}

/// The name of a node's instance, in the VPC.
pub(crate) fn node_name(node: usize) -> String {
    format!("node-{node}")
}

/// Calls that change something.
const CHANGES: [&str; 8] =
    ["Create", "Attach", "Modify", "Assign", "Unassign", "Detach", "Delete", "Tag"];

/// EC2's name of a call.
fn action(name: &str) -> Action {
    match name {
        "Create" => Action::CREATE_NETWORK_INTERFACE,
        "Attach" => Action::ATTACH_NETWORK_INTERFACE,
        "Modify" => Action::MODIFY_NETWORK_INTERFACE_ATTRIBUTE,
        "Assign" => Action::ASSIGN_PRIVATE_IP_ADDRESSES,
        "Unassign" => Action::UNASSIGN_PRIVATE_IP_ADDRESSES,
        "Detach" => Action::DETACH_NETWORK_INTERFACE,
        "Delete" => Action::DELETE_NETWORK_INTERFACE,
        "Tag" => Action::CREATE_TAGS,
        "CountFree" => Action::DESCRIBE_SUBNETS,
        _ => Action::DESCRIBE_NETWORK_INTERFACES,
    }
}

/// The id of a subnet: of pods, in another zone, or one that does not exist.
pub(crate) fn subnet_id(subnet: usize) -> String {
    format!("subnet-{:08x}", subnet + 1)
}

/// The id of the nodes' subnet.
pub(crate) fn node_subnet() -> String {
    subnet_id(NOWHERE + 1)
}

/// The id of a security group.
pub(crate) fn group_id(group: usize) -> String {
    format!("sg-{:08x}", group + 1)
}

fn spec(setup: &Setup) -> Spec {
    let subnet = |id: String, cidr: String, zone: &str| SubnetSpec {
        name: id.clone(),
        id: Some(id),
        cidr: cidr.parse().expect("a CIDR"),
        zone: zone.into(),
        public_ips: false,
        prefix_reservations: vec![],
        explicit_reservations: vec![],
    };
    let mut subnets = vec![subnet(node_subnet(), "10.0.0.0/24".into(), "us-west-2a")];
    subnets.extend((0..=OTHER_ZONE).map(|nth| {
        let zone = if nth < POD_SUBNETS { "us-west-2a" } else { "us-west-2b" };
        subnet(subnet_id(nth), format!("100.64.{nth}.0/{}", setup.bits), zone)
    }));
    let group = |nth| GroupSpec {
        name: group_id(nth),
        id: Some(group_id(nth)),
        ingress: vec![],
        egress: None,
    };
    Spec {
        subnets,
        groups: (0..GROUPS).map(group).collect(),
        latency: Latency {
            attach: Duration::from_millis(1_500),
            device: Duration::from_millis(500),
            detach: Duration::from_millis(4_500),
            ..Latency::default()
        },
        imds: ImdsSpec { lag: Duration::ZERO, ..ImdsSpec::default() },
        seed: setup.seed,
        ..Spec::default()
    }
}
