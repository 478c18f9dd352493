//! How many API calls a second the VPC's rules take in one thread, in virtual time.
//!
//! Thousands of nodes boot at RunInstances' pace, each attaching an interface, giving it prefixes
//! and addresses, looking at itself, and later going away. Nothing is throttled: it is the rules
//! that are measured, not the waiting.

#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

use anyhow::{Context as _, Result, bail};
use std::{
    io::Write as _,
    time::{Duration, Instant},
};
use vpc::{
    Action, Breadth, Ec2Error, Filter, InstanceId, Launch, Lookup, Spec, Time, Vpc,
    assign::{Assigned, Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{Attribute, CreateInterface},
    spec::SubnetSpec,
    throttle::ThrottleSpec,
};

/// Nodes that boot one after the other.
const NODES: usize = 4_000;

/// Nodes that live at a time: below EC2's quota of 5,000 interfaces with two each.
const ALIVE: usize = 2_000;

/// Calls a second that simulations of thousands of nodes need to be worth waiting for.
const GOAL: f64 = 100_000.0;

/// How far apart nodes boot: twice a second, as RunInstances lets them.
const PACE: Duration = Duration::from_millis(500);

/// Steady work of each node: times that it gets an address and gives one back.
const ROUNDS: usize = 8;

fn main() -> Result<()> {
    let mut world = World::new()?;
    let began = Instant::now();
    for number in 0..NODES {
        world.boot(number).with_context(|| format!("boot node {number}"))?;
        if world.nodes.len() > ALIVE {
            world.retire().context("terminate the oldest node")?;
        }
    }
    let (elapsed, calls) = (began.elapsed().as_secs_f64(), world.calls);
    let rate = f64::from(calls) / elapsed;
    let line = format!(
        "{calls} API calls of {NODES} nodes, {ALIVE} at a time, in {elapsed:.2} s: {rate:.0} a \
         second in one thread (goal: {GOAL:.0})\n"
    );
    std::io::stdout().write_all(line.as_bytes())?;
    if cfg!(not(debug_assertions)) && rate < GOAL {
        bail!("slower than the goal");
    }
    Ok(())
}

struct World {
    vpc: Vpc,
    now: Time,
    nodes: std::collections::VecDeque<Node>,
    calls: u32,
}

struct Node {
    name: String,
    id: InstanceId,
    interface: String,
    attachment: String,
}

impl World {
    fn new() -> Result<Self> {
        let subnet = |name: &str, cidr: &str| -> Result<SubnetSpec> {
            Ok(SubnetSpec {
                name: name.into(),
                id: Some(format!("subnet-{name}")),
                cidr: cidr.parse()?,
                zone: "us-west-2a".into(),
                public_ips: false,
                prefix_reservations: Vec::new(),
                explicit_reservations: Vec::new(),
            })
        };
        let spec = Spec {
            cidrs: vec!["10.0.0.0/16".parse()?, "100.64.0.0/16".parse()?, "100.65.0.0/16".parse()?],
            subnets: vec![
                subnet("nodes", "10.0.0.0/16")?,
                subnet("pods", "100.64.0.0/16")?,
                subnet("more", "100.65.0.0/16")?,
            ],
            throttle: ThrottleSpec::off(),
            ..Spec::default()
        };
        Ok(Self { vpc: Vpc::new(spec)?, now: Time::ZERO, nodes: Default::default(), calls: 0 })
    }

    /// Takes a call in, as the API does before it carries it out.
    fn admit(&mut self, node: &str, action: Action, breadth: Breadth) -> Result<(), Ec2Error> {
        self.calls += 1;
        self.vpc.admit(self.now, node, action, breadth).map(|_| ())
    }

    fn boot(&mut self, number: usize) -> Result<()> {
        self.now = self.now + PACE;
        self.vpc.advance(self.now);
        let name = format!("node-{number}");
        let launch = Launch {
            node: name.clone(),
            instance_type: "m5.xlarge".into(),
            subnet_id: "subnet-nodes".into(),
            groups: Vec::new(),
            role: None,
        };
        let id = self.vpc.run_instance(self.now, &launch)?;
        let subnet = if number.is_multiple_of(2) { "subnet-pods" } else { "subnet-more" };
        let create = CreateInterface {
            subnet_id: subnet.into(),
            description: format!("aws-K8S-{id}"),
            wanted: Wanted::PrefixCount(1),
            tags: [("node.k8s.amazonaws.com/instance_id".to_owned(), id.to_string())].into(),
            client_token: Some(format!("{id}-1")),
            ..CreateInterface::default()
        };
        self.admit(&name, Action::CREATE_NETWORK_INTERFACE, Breadth::Some)?;
        let interface = self.vpc.create_network_interface(self.now, &create)?.id.to_string();
        let attach = Attach {
            interface_id: interface.clone(),
            instance_id: id.to_string(),
            device_index: 1,
            card_index: Some(0),
        };
        self.admit(&name, Action::ATTACH_NETWORK_INTERFACE, Breadth::Some)?;
        let attachment = self.vpc.attach_network_interface(self.now, &attach)?.id.to_string();
        let node = Node { name, id, interface, attachment };
        self.modify(&node)?;
        self.describe(&node)?;
        for _ in 0..ROUNDS {
            self.churn(&node)?;
        }
        self.nodes.push_back(node);
        Ok(())
    }

    fn modify(&mut self, node: &Node) -> Result<()> {
        let attribute =
            Attribute::DeleteOnTermination { attachment_id: node.attachment.clone(), value: true };
        self.admit(&node.name, Action::MODIFY_NETWORK_INTERFACE_ATTRIBUTE, Breadth::Some)?;
        self.vpc.modify_network_interface_attribute(self.now, &node.interface, &attribute)?;
        Ok(())
    }

    fn describe(&mut self, node: &Node) -> Result<()> {
        let filter =
            Filter { name: "attachment.instance-id".into(), values: vec![node.id.to_string()] };
        let by_filter = Lookup { filters: vec![filter], ..Lookup::default() };
        let by_id = Lookup { ids: vec![node.interface.clone()], ..Lookup::default() };
        for (lookup, want) in [(by_filter, 2), (by_id, 1)] {
            self.admit(&node.name, Action::DESCRIBE_NETWORK_INTERFACES, lookup.breadth())?;
            let found = self.vpc.describe_network_interfaces(&lookup)?.items.len();
            if found != want {
                bail!("{found} interfaces are described, not {want}");
            }
        }
        Ok(())
    }

    /// An address comes, and it goes; and so does a prefix.
    fn churn(&mut self, node: &Node) -> Result<()> {
        for wanted in [Wanted::Count(1), Wanted::PrefixCount(1)] {
            self.admit(&node.name, Action::ASSIGN_PRIVATE_IP_ADDRESSES, Breadth::Some)?;
            let (id, reassignment) = (&node.interface, Reassignment::Refused);
            let gone: Assigned =
                self.vpc.assign_private_ip_addresses(self.now, id, &wanted, reassignment)?;
            self.admit(&node.name, Action::UNASSIGN_PRIVATE_IP_ADDRESSES, Breadth::Some)?;
            self.vpc.unassign_private_ip_addresses(self.now, id, &gone)?;
        }
        Ok(())
    }

    /// The oldest node gives its interface back, and is terminated.
    fn retire(&mut self) -> Result<()> {
        let Some(node) = self.nodes.pop_front() else { return Ok(()) };
        self.admit(&node.name, Action::DETACH_NETWORK_INTERFACE, Breadth::Some)?;
        self.vpc.detach_network_interface(self.now, &node.attachment, Detach::Orderly)?;
        self.now = self.now + PACE;
        self.vpc.advance(self.now);
        self.admit(&node.name, Action::DELETE_NETWORK_INTERFACE, Breadth::Some)?;
        self.vpc.delete_network_interface(self.now, &node.interface)?;
        self.vpc.terminate_instance(self.now, &node.id)?;
        Ok(())
    }
}
