//! EC2 as a node meets it: the rules of the simulated VPC, calls that take time, and bad days.

use crate::{
    dice::Dice,
    history::{Fault, GROUPS, NOWHERE, OTHER_ZONE, POD_SUBNETS, Setup},
};
use pool::{Cause, Refusal, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use vpc_sim::vpc::{
    Ec2Error, EniId, Spec, Time as At, Vpc,
    assign::Wanted,
    create::CreateInterface,
    spec::{GroupSpec, ImdsSpec, Latency, SubnetSpec},
};

/// Tag that names the node which an interface was made for.
pub(crate) const NODE_TAG: &str = "node.k8s.amazonaws.com/instance_id";

/// Tag of interfaces that are not to be managed.
pub(crate) const NO_MANAGE_TAG: &str = "node.k8s.amazonaws.com/no_manage";

/// What EC2 answered instead of doing something.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// It may have been done all the same.
    pub(crate) ambiguous: bool,
}

#[derive(Clone, Copy, Debug)]
struct Bad {
    /// `None` for all nodes.
    node: Option<usize>,
    fault: Fault,
    until: Time,
}

/// The VPC, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) vpc: Vpc,
    /// Calls by action.
    pub(crate) calls: BTreeMap<&'static str, usize>,
    /// Interfaces that nobody can know about any more, or that could not be deleted: a clean-up by
    /// tags finds them.
    pub(crate) abandoned: BTreeSet<EniId>,
    dice: Dice,
    bad: Vec<Bad>,
    tenants: Vec<EniId>,
}

impl Cloud {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            vpc: Vpc::new(spec(setup)).expect("the specification is sound"),
            calls: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            dice: Dice(setup.seed ^ 0xc10d),
            bad: vec![],
            tenants: vec![],
        }
    }

    /// Makes a call: what it does is done at once, the answer comes later.
    pub(crate) fn call<T>(
        &mut self,
        now: Time,
        node: usize,
        name: &'static str,
        effect: impl FnOnce(&mut Vpc, At) -> Result<T, Ec2Error>,
    ) -> (Result<T, Refused>, Time) {
        *self.calls.entry(name).or_default() += 1;
        // `facts/ec2-facts.md` §1.6.
        let mut latency = Duration::from_millis(250 + self.dice.below(350));
        let hit = |bad: &&Bad| bad.until > now && bad.node.is_none_or(|it| it == node);
        let faults: Vec<Fault> = self.bad.iter().filter(hit).map(|bad| bad.fault).collect();
        for fault in faults {
            let strikes = self.dice.percent(60);
            let error = match fault {
                Fault::Throttle if strikes => {
                    Ec2Error::new("RequestLimitExceeded", "Request limit exceeded.")
                }
                Fault::Unavailable if strikes => Ec2Error {
                    status: 503,
                    ..Ec2Error::new("Unavailable", "The service is unavailable.")
                },
                Fault::LostReply if strikes => {
                    // The effect stays, the answer does not come.
                    let _ = effect(&mut self.vpc, At(now.0));
                    return (Err(Refused::lost()), now + Duration::from_secs(5));
                }
                Fault::Denied if name != "Describe" => {
                    let text = format!("You are not authorized to perform: {name}.");
                    Ec2Error::new("UnauthorizedOperation", text)
                }
                Fault::Slow => {
                    latency *= 10;
                    continue;
                }
                Fault::Throttle | Fault::Unavailable | Fault::LostReply | Fault::Denied => continue,
            };
            return (Err(Refused::new(&error)), now + latency);
        }
        let answer = effect(&mut self.vpc, At(now.0));
        (answer.map_err(|error| Refused::new(&error)), now + latency)
    }

    pub(crate) fn fault(&mut self, node: Option<usize>, fault: Fault, until: Time) {
        self.bad.push(Bad { node, fault, until });
    }

    pub(crate) fn end_faults(&mut self) {
        self.bad.clear();
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

impl Refused {
    fn lost() -> Self {
        let said = "no answer".into();
        Self { refusal: Refusal { cause: Cause::Unavailable, said }, ambiguous: true }
    }

    fn new(error: &Ec2Error) -> Self {
        let cause = cause(error);
        let ambiguous = cause == Cause::Unavailable;
        Self { refusal: Refusal { cause, said: error.to_string() }, ambiguous }
    }
}

/// The class of an error.
fn cause(error: &Ec2Error) -> Cause {
    match error.code.as_ref() {
        "RequestLimitExceeded" => Cause::Throttled,
        "InsufficientFreeAddressesInSubnet" => Cause::NoAddresses,
        "InsufficientCidrBlocks" => Cause::NoPrefixes,
        "UnauthorizedOperation" => Cause::Denied,
        "AttachmentLimitExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "PrivateIpAddressLimitExceeded" => Cause::Limit,
        _ if error.message.contains("sufficient free Ipv4 addresses or prefixes") => {
            Cause::NoPrefixes
        }
        _ if error.status >= 500 => Cause::Unavailable,
        _ => Cause::Wrong,
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
