//! The rules of EC2 as a state machine: no clock, no I/O, and the same seed gives the same world.
//!
//! Every call takes the time. What happens later is queued; [`Vpc::advance`] lets it happen.

pub mod access;
pub mod admit;
pub mod assign;
pub mod attach;
pub mod calls;
pub mod create;
pub mod describe;
pub mod fault;
pub mod ids;
pub mod metadata;
pub mod reservation;
pub mod spec;
pub mod throttle;
pub mod topology;

mod action;
mod check;
mod error;
mod fields;
mod filter;
mod groups;
mod instance;
mod interface;
mod lag;
mod lookup;
mod subnet;
mod tags;
#[cfg(test)]
mod tests;
mod time;
mod wires;

pub use action::{Action, BucketSpec, UnknownAction};
pub use check::SpecError;
pub use error::Ec2Error;
pub use groups::Group;
pub use ids::{AttachmentId, EniId, InstanceId};
pub use instance::{Instance, Role};
pub use interface::{Attachment, AttachmentState, Interface};
pub use lookup::{Breadth, Filter, Lookup, Page};
pub use spec::{Launch, Spec};
pub use subnet::Subnet;
pub use time::Time;

use attach::Step;
use fault::Faults;
use ids::Kind;
use ipnetwork::Ipv4Network;
use lag::Lagging;
use net::Mac;
use rand::{SeedableRng, rngs::StdRng};
use reservation::{CidrReservation, CreateReservation};
use spec::{ImdsSpec, Latency, SubnetSpec};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use subnet::Space;
use throttle::Throttle;

/// Addresses in a prefix that EC2 delegates over IPv4: a /28.
pub(crate) const PREFIX_SIZE: u32 = 16;

/// A VPC and everything in it.
#[derive(Debug)]
pub struct Vpc {
    spec: Spec,
    id: String,
    subnets: BTreeMap<String, Subnet>,
    groups: BTreeMap<String, Group>,
    interfaces: BTreeMap<EniId, Interface>,
    instances: BTreeMap<InstanceId, Instance>,
    tags: BTreeMap<String, BTreeMap<String, String>>,
    created: BTreeMap<String, create::Created>,
    reservations: BTreeMap<String, CidrReservation>,
    index: Index,
    throttle: Throttle,
    faults: Faults,
    lagging: Option<Lagging>,
    due: BTreeMap<(Time, u64), Due>,
    queued: u64,
    revision: u64,
    rng: StdRng,
}

/// Where to find what is looked for by something else than its id.
#[derive(Debug, Default)]
struct Index {
    macs: BTreeSet<Mac>,
    attachments: BTreeMap<AttachmentId, EniId>,
    tokens: BTreeMap<EniId, String>,
    nodes: BTreeMap<String, InstanceId>,
}

/// What happens by itself, later.
#[derive(Clone, Debug)]
enum Due {
    Attached(EniId, AttachmentId),
    DevicePresent(EniId, AttachmentId),
    DeviceGone(EniId, AttachmentId),
    Detached(EniId, AttachmentId),
    Forgotten(InstanceId),
}

impl Vpc {
    /// Makes the VPC that a specification describes.
    ///
    /// # Errors
    /// When EC2 would not make it.
    pub fn new(spec: Spec) -> Result<Self, SpecError> {
        spec.check()?;
        let mut rng = StdRng::seed_from_u64(spec.seed);
        let id = Kind::Vpc.random(&mut rng);
        let groups = groups::build(&spec.groups, &mut rng)?;
        let mut vpc = Self {
            id,
            subnets: BTreeMap::new(),
            groups,
            interfaces: BTreeMap::new(),
            instances: BTreeMap::new(),
            tags: BTreeMap::new(),
            created: BTreeMap::new(),
            reservations: BTreeMap::new(),
            index: Index::default(),
            throttle: Throttle::default(),
            faults: Faults::new(spec.seed),
            lagging: None,
            due: BTreeMap::new(),
            queued: 0,
            revision: 0,
            rng,
            spec,
        };
        for subnet in vpc.spec.subnets.clone() {
            vpc.add_subnet(subnet);
        }
        Ok(vpc)
    }

    /// Adds an address block, as an operator does while instances run.
    ///
    /// # Errors
    /// A VPC cannot have it beside the others.
    pub fn add_block(&mut self, block: Ipv4Network) -> Result<(), SpecError> {
        let mut spec = self.spec.clone();
        spec.cidrs.push(block);
        spec.check()?;
        self.spec = spec;
        self.changed();
        Ok(())
    }

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now: Time) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), due) = entry.remove_entry();
            match due {
                Due::Attached(eni, id) => self.attachment_moves(at, &eni, &id, Step::Attached),
                Due::DevicePresent(eni, id) => {
                    self.attachment_moves(at, &eni, &id, Step::DevicePresent);
                }
                Due::DeviceGone(eni, id) => self.attachment_moves(at, &eni, &id, Step::DeviceGone),
                Due::Detached(eni, id) => self.attachment_moves(at, &eni, &id, Step::Detached),
                Due::Forgotten(instance) => {
                    self.instances.remove(&instance);
                    self.tags.remove(instance.as_str());
                }
            }
        }
    }

    /// When something happens by itself next.
    #[must_use]
    pub fn next_event(&self) -> Option<Time> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// A number that grows with every change that the topology may show.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The VPC's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The account's id.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.spec.account
    }

    /// The region's name.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.spec.region
    }

    /// The VPC's address blocks, the primary one first.
    #[must_use]
    pub fn cidrs(&self) -> &[Ipv4Network] {
        &self.spec.cidrs
    }

    /// How long things take.
    #[must_use]
    pub fn latency(&self) -> &Latency {
        &self.spec.latency
    }

    /// How the metadata service behaves.
    #[must_use]
    pub fn imds(&self) -> &ImdsSpec {
        &self.spec.imds
    }

    /// All subnets, by id.
    #[must_use]
    pub fn subnets(&self) -> &BTreeMap<String, Subnet> {
        &self.subnets
    }

    /// All security groups, by id.
    #[must_use]
    pub fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    /// All network interfaces, by id.
    #[must_use]
    pub fn interfaces(&self) -> &BTreeMap<EniId, Interface> {
        &self.interfaces
    }

    /// All instances, by id; also those that were terminated within the last hour.
    #[must_use]
    pub fn instances(&self) -> &BTreeMap<InstanceId, Instance> {
        &self.instances
    }

    /// An interface.
    ///
    /// # Errors
    /// As EC2, when there is none with that id.
    pub fn interface(&self, id: &str) -> Result<&Interface, Ec2Error> {
        self.interfaces.get(id).ok_or_else(|| Kind::Interface.unknown(id))
    }

    /// An instance.
    ///
    /// # Errors
    /// As EC2, when there is none with that id.
    pub fn instance(&self, id: &str) -> Result<&Instance, Ec2Error> {
        self.instances.get(id).ok_or_else(|| Kind::Instance.unknown(id))
    }

    /// A subnet.
    ///
    /// # Errors
    /// As EC2, when there is none with that id.
    pub fn subnet(&self, id: &str) -> Result<&Subnet, Ec2Error> {
        self.subnets.get(id).ok_or_else(|| Kind::Subnet.unknown(id))
    }

    /// The availability zone of an interface.
    #[must_use]
    pub fn zone_of(&self, interface: &Interface) -> Option<&str> {
        self.subnets.get(&interface.subnet_id).map(|subnet| subnet.zone.as_str())
    }

    /// The id of a zone, the same in every account: `usw2-az1` for `us-west-2a`.
    #[must_use]
    pub fn zone_id(&self, zone: &str) -> String {
        let mut parts = self.spec.region.split('-');
        let mut short = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            match part {
                "northeast" => short.push_str("ne"),
                "northwest" => short.push_str("nw"),
                "southeast" => short.push_str("se"),
                "southwest" => short.push_str("sw"),
                other => short.extend(other.chars().next()),
            }
        }
        let letter = zone.bytes().last().unwrap_or(b'a');
        format!("{short}-az{}", letter.saturating_sub(b'a') + 1)
    }

    /// The name of a private address in the VPC's DNS.
    #[must_use]
    pub fn private_dns_name(&self, address: Ipv4Addr) -> String {
        let host = address.to_string().replace('.', "-");
        match self.spec.region.as_str() {
            "us-east-1" => format!("ip-{host}.ec2.internal"),
            region => format!("ip-{host}.{region}.compute.internal"),
        }
    }

    fn add_subnet(&mut self, spec: SubnetSpec) {
        let id = spec.id.clone().unwrap_or_else(|| Kind::Subnet.random(&mut self.rng));
        self.tag(&id, "Name", &spec.name);
        let reservations: Vec<_> = spec.reservations().collect();
        let subnet = Subnet {
            id: id.clone(),
            name: spec.name,
            cidr: spec.cidr,
            zone: spec.zone,
            public_ips: spec.public_ips,
            space: Space::new(spec.cidr),
        };
        self.subnets.insert(id.clone(), subnet);
        for (kind, cidr) in reservations {
            let request = CreateReservation {
                subnet_id: id.clone(),
                cidr,
                kind,
                description: String::new(),
                tags: BTreeMap::new(),
            };
            let made = self.create_subnet_cidr_reservation(&request);
            made.expect("the specification was checked");
        }
    }

    fn later(&mut self, at: Time, due: Due) {
        self.queued += 1;
        self.due.insert((at, self.queued), due);
    }

    fn changed(&mut self) {
        self.revision += 1;
    }

    /// An interface is not what it was: wires and metadata must follow.
    fn interface_changed(&mut self, now: Time, id: &EniId) {
        self.changed();
        self.remember(now, id);
        let attachment = self.interfaces.get(id).and_then(|eni| eni.attachment.as_ref());
        if let Some(instance) = attachment.map(|attachment| attachment.instance_id.clone()) {
            self.show(now, &instance);
        }
    }

    fn interface_mut(&mut self, id: &EniId) -> &mut Interface {
        self.interfaces.get_mut(id).expect("the id was looked up, and nothing was deleted since")
    }

    fn subnet_mut(&mut self, id: &str) -> &mut Subnet {
        self.subnets.get_mut(id).expect("subnets are never deleted")
    }
}
