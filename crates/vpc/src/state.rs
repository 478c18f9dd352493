//! What a VPC is made of, and how it is looked at; what changes it is elsewhere.

use super::{
    access::{AccessSpec, Credentials},
    error::Ec2Error,
    fault::Faults,
    groups::Group,
    ids::{AttachmentId, EniId, InstanceId, Kind},
    instance::Instance,
    interface::{CreateInterface, Interface},
    lag::Lagging,
    policy::Policy,
    spec::{ImdsSpec, Latency, Spec},
    subnet::{CidrReservation, Subnet},
    throttle::Throttle,
    time::Time,
};
use ipnetwork::{Ipv4Network, Ipv6Network};
use net::Mac;
use rand::rngs::StdRng;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

/// A VPC and everything in it.
#[derive(Debug)]
pub struct Vpc {
    pub(crate) spec: Spec,
    pub(crate) id: String,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) interfaces: BTreeMap<EniId, Interface>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) tags: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) created: BTreeMap<String, Created>,
    pub(crate) reservations: BTreeMap<String, CidrReservation>,
    pub(crate) policies: BTreeMap<String, Policy>,
    pub(crate) index: Index,
    pub(crate) throttle: Throttle,
    pub(crate) faults: Faults,
    pub(crate) lagging: Option<Lagging>,
    pub(crate) due: BTreeMap<(Time, u64), Due>,
    pub(crate) queued: u64,
    pub(crate) revision: u64,
    pub(crate) rng: StdRng,
}

/// Where to find what is looked for by something else than its id.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) macs: BTreeSet<Mac>,
    pub(crate) attachments: BTreeMap<AttachmentId, EniId>,
    pub(crate) tokens: BTreeMap<EniId, String>,
    pub(crate) nodes: BTreeMap<String, InstanceId>,
}

/// What happens by itself, later.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    Attachment(Step, EniId, AttachmentId),
    Forgotten(InstanceId),
}

/// What an attachment does when its time has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Attached,
    DevicePresent,
    DeviceGone,
    Detached,
}

/// What a client token was used for.
#[derive(Clone, Debug)]
pub(crate) struct Created {
    pub(crate) request: CreateInterface,
    pub(crate) id: EniId,
}

impl Vpc {
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

    /// The VPC's IPv6 block, which only IPv6-only interfaces use: from the range for documentation
    /// (RFC 3849).
    #[must_use]
    pub fn ipv6_cidr(&self) -> Ipv6Network {
        let base = Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0);
        Ipv6Network::new(base, 56).expect("56 is a prefix length")
    }

    /// The IPv6 block of a subnet: the VPC's one, and a number for the subnet.
    #[must_use]
    pub fn ipv6_block(&self, subnet_id: &str) -> Ipv6Network {
        let number = self.subnets.keys().position(|id| id == subnet_id).unwrap_or_default();
        let base = u128::from(self.ipv6_cidr().network()) | ((number as u128 & 0xff) << 64);
        Ipv6Network::new(base.into(), 64).expect("64 is a prefix length")
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

    /// The instance that is the node of a name.
    #[must_use]
    pub fn instance_by_node(&self, node: &str) -> Option<&Instance> {
        self.instances.get(self.index.nodes.get(node)?)
    }

    /// The instance that has a private address, on any of its interfaces, alone or in a prefix.
    #[must_use]
    pub fn instance_by_address(&self, address: Ipv4Addr) -> Option<&Instance> {
        let owner = self.subnets.values().find_map(|subnet| subnet.owner(address))?;
        let attachment = self.interfaces.get(owner)?.attachment.as_ref()?;
        self.instances.get(&attachment.instance_id)
    }

    /// The instance whose role has an access key.
    #[must_use]
    pub fn instance_by_access_key(&self, access_key_id: &str) -> Option<&Instance> {
        self.instances.values().find(|instance| {
            instance.role.as_ref().is_some_and(|role| role.access_key_id == access_key_id)
        })
    }

    /// The name of the node that an instance is.
    #[must_use]
    pub fn node_of_instance(&self, id: &InstanceId) -> Option<&str> {
        self.instances.get(id).map(|instance| instance.node.as_str())
    }

    /// Whose calls are taken.
    #[must_use]
    pub fn access(&self) -> &AccessSpec {
        &self.spec.access
    }

    /// The credentials of an access key: of an instance's role, or one of the specification's.
    #[must_use]
    pub fn credentials_of(&self, access_key_id: &str) -> Option<Credentials<'_>> {
        let of_role = self.instance_by_access_key(access_key_id).and_then(|it| it.role.as_ref());
        let of_role = of_role
            .map(|role| Credentials { secret: &role.secret_access_key, token: Some(&role.token) });
        let given = || self.spec.access.keys.iter().find(|key| key.id == access_key_id);
        of_role.or_else(|| given().map(|key| Credentials { secret: &key.secret, token: None }))
    }

    /// The tags of a resource.
    #[must_use]
    pub fn tags(&self, id: &str) -> Option<&BTreeMap<String, String>> {
        self.tags.get(id)
    }

    pub(crate) fn tag(&mut self, id: &str, key: &str, value: &str) {
        self.tags.entry(id.into()).or_default().insert(key.into(), value.into());
    }

    pub(crate) fn later(&mut self, at: Time, due: Due) {
        self.queued += 1;
        self.due.insert((at, self.queued), due);
    }

    pub(crate) fn changed(&mut self) {
        self.revision += 1;
    }

    pub(crate) fn interface_mut(&mut self, id: &EniId) -> &mut Interface {
        self.interfaces.get_mut(id).expect("the id was looked up, and nothing was deleted since")
    }

    pub(crate) fn subnet_mut(&mut self, id: &str) -> &mut Subnet {
        self.subnets.get_mut(id).expect("subnets are never deleted")
    }
}
