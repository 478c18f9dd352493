//! What a world is made of, as a file or a test writes it down.

use super::{limits, throttle::ThrottleSpec};
use crate::layout::Protocol;
use ipnetwork::Ipv4Network;
use serde::{Deserialize, Deserializer};
use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

/// A VPC before it exists.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Region, which begins the names of its zones.
    pub region: String,
    /// Account id: twelve digits.
    pub account: String,
    /// The VPC's address blocks, the first one being the primary.
    pub cidrs: Vec<Ipv4Network>,
    /// Its subnets.
    pub subnets: Vec<SubnetSpec>,
    /// Its security groups; one with the name `default` is added when none has it.
    pub groups: Vec<GroupSpec>,
    /// How long things take.
    pub latency: Latency,
    /// The instance metadata service.
    pub imds: ImdsSpec,
    /// How many calls are taken.
    pub throttle: ThrottleSpec,
    /// Where ids, addresses and everything else that is random begins.
    pub seed: u64,
}

/// One subnet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetSpec {
    /// Name, for people.
    pub name: String,
    /// Id; made up when absent.
    pub id: Option<String>,
    /// Addresses.
    pub cidr: Ipv4Network,
    /// Availability zone, such as `us-west-2a`.
    pub zone: String,
    /// Whether instances launched here get a public address; yes when absent.
    #[serde(default = "yes")]
    pub public_ips: bool,
}

/// One security group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Name.
    pub name: String,
    /// Id; made up when absent.
    pub id: Option<String>,
    /// What may come in; nothing when absent.
    #[serde(default)]
    pub ingress: Vec<PermissionSpec>,
    /// What may go out; everything when absent.
    pub egress: Option<Vec<PermissionSpec>>,
}

/// One permission of a security group: with addresses or with the members of a group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionSpec {
    /// `any`, `icmp`, `tcp` or `udp`.
    #[serde(default)]
    pub protocol: ProtocolName,
    /// First and last destination port; all when absent.
    pub ports: Option<(u16, u16)>,
    /// Addresses at the other end.
    pub cidr: Option<Ipv4Network>,
    /// Name or id of the group at the other end.
    pub group: Option<String>,
}

/// A protocol, without its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolName {
    /// Everything.
    #[default]
    Any,
    /// ICMP.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl PermissionSpec {
    /// Everything, from or to the given addresses.
    #[must_use]
    pub fn everything(cidr: Ipv4Network) -> Self {
        Self { protocol: ProtocolName::Any, ports: None, cidr: Some(cidr), group: None }
    }

    pub(super) fn wire_protocol(&self) -> Protocol {
        let (first, last) = self.ports.unwrap_or((0, u16::MAX));
        match self.protocol {
            ProtocolName::Any => Protocol::Any,
            ProtocolName::Icmp => Protocol::Icmp,
            ProtocolName::Tcp => Protocol::Tcp(first, last),
            ProtocolName::Udp => Protocol::Udp(first, last),
        }
    }
}

/// How long things take. The defaults are a tenth of what was observed on AWS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// An API call that reads; 100–250 ms on AWS.
    #[serde(rename = "read_ms", deserialize_with = "millis")]
    pub read: Duration,
    /// An API call that changes something; 250–600 ms on AWS.
    #[serde(rename = "change_ms", deserialize_with = "millis")]
    pub change: Duration,
    /// From `attaching` to `attached`; 1–2 s on AWS.
    #[serde(rename = "attach_ms", deserialize_with = "millis")]
    pub attach: Duration,
    /// From `attached` until the machine has the device; 0.2–1 s on AWS. Also from the call that
    /// detaches until the device is gone.
    #[serde(rename = "device_ms", deserialize_with = "millis")]
    pub device: Duration,
    /// From `detaching` to `available`; 3–6 s on AWS.
    #[serde(rename = "detach_ms", deserialize_with = "millis")]
    pub detach: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            read: Duration::from_millis(17),
            change: Duration::from_millis(42),
            attach: Duration::from_millis(150),
            device: Duration::from_millis(60),
            detach: Duration::from_millis(450),
        }
    }
}

impl Latency {
    /// Everything happens at once.
    pub const NONE: Self = Self {
        read: Duration::ZERO,
        change: Duration::ZERO,
        attach: Duration::ZERO,
        device: Duration::ZERO,
        detach: Duration::ZERO,
    };
}

/// The instance metadata service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImdsSpec {
    /// Answer requests without a token, as IMDSv1 did.
    pub v1: bool,
    /// TTL of the packets that carry a token: 1 means that it does not reach a pod.
    pub hop_limit: u8,
    /// How far the service is behind EC2; 0.5–2 s on AWS.
    #[serde(rename = "lag_ms", deserialize_with = "millis")]
    pub lag: Duration,
}

impl Default for ImdsSpec {
    fn default() -> Self {
        Self { v1: false, hop_limit: 1, lag: Duration::from_millis(100) }
    }
}

impl Default for Spec {
    fn default() -> Self {
        let block = |first, second, third, prefix| {
            Ipv4Network::new(Ipv4Addr::new(first, second, third, 0), prefix)
                .expect("a prefix length of at most 32")
        };
        let subnet = |name: &str, cidr, zone: &str, public_ips| SubnetSpec {
            name: name.into(),
            id: None,
            cidr,
            zone: zone.into(),
            public_ips,
        };
        Self {
            region: "us-west-2".into(),
            account: "123456789012".into(),
            cidrs: vec![block(10, 0, 0, 16), block(100, 64, 0, 16)],
            subnets: vec![
                subnet("nodes-a", block(10, 0, 0, 24), "us-west-2a", true),
                subnet("nodes-b", block(10, 0, 1, 24), "us-west-2b", true),
                subnet("pods-a", block(100, 64, 0, 19), "us-west-2a", false),
                subnet("pods-b", block(100, 64, 32, 19), "us-west-2b", false),
            ],
            groups: Vec::new(),
            latency: Latency::default(),
            imds: ImdsSpec::default(),
            throttle: ThrottleSpec::default(),
            seed: 0,
        }
    }
}

/// What is wrong with a [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The VPC has no addresses.
    #[error("the VPC has no address block: give at least one in `cidrs`")]
    NoBlock,
    /// A block has bits behind its prefix, or a size that EC2 refuses.
    #[error("address block {0} must be canonical and between /16 and /28")]
    Block(Ipv4Network),
    /// A subnet is in no block of the VPC.
    #[error("subnet {name} ({cidr}) is outside of the VPC's address blocks")]
    Outside {
        /// The subnet's name.
        name: String,
        /// Its addresses.
        cidr: Ipv4Network,
    },
    /// Two blocks or two subnets share addresses.
    #[error("{0} and {1} overlap")]
    Overlap(Ipv4Network, Ipv4Network),
    /// A zone of another region.
    #[error("subnet {name}: zone {zone} must be the region {region} and one letter")]
    Zone {
        /// The subnet's name.
        name: String,
        /// Its zone.
        zone: String,
        /// The region.
        region: String,
    },
    /// Two subnets or two groups have the same name or id.
    #[error("`{0}` names two things: give each subnet and group its own name and id")]
    Twice(String),
    /// A permission that names nobody, or both addresses and a group.
    #[error("a permission of group {0} must name either `cidr` or `group`")]
    Peer(String),
    /// A permission that names a group which does not exist.
    #[error("group {group} permits `{peer}`, which is neither the name nor the id of a group")]
    UnknownGroup {
        /// The group with the permission.
        group: String,
        /// What it names.
        peer: String,
    },
}

impl Spec {
    /// Everything that can be wrong without looking at groups.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        if self.cidrs.is_empty() {
            return Err(SpecError::NoBlock);
        }
        let subnets: Vec<_> = self.subnets.iter().map(|subnet| subnet.cidr).collect();
        check_blocks(&self.cidrs)?;
        check_blocks(&subnets)?;
        for subnet in &self.subnets {
            self.check_subnet(subnet)?;
        }
        // A name may be the id of its own thing, not of another one.
        let subnets = self.subnets.iter().flat_map(|subnet| names(&subnet.name, &subnet.id));
        let groups = self.groups.iter().flat_map(|group| names(&group.name, &group.id));
        let mut seen = BTreeSet::new();
        for names in [subnets.collect::<Vec<_>>(), groups.collect()] {
            seen.clear();
            if let Some(twice) = names.into_iter().find(|name| !seen.insert(*name)) {
                return Err(SpecError::Twice(twice.clone()));
            }
        }
        Ok(())
    }

    fn check_subnet(&self, subnet: &SubnetSpec) -> Result<(), SpecError> {
        let SubnetSpec { name, cidr, zone, .. } = subnet;
        let inside = |block: &Ipv4Network| {
            block.contains(cidr.network()) && block.contains(cidr.broadcast())
        };
        if !self.cidrs.iter().any(inside) {
            return Err(SpecError::Outside { name: name.clone(), cidr: *cidr });
        }
        match zone.strip_prefix(&self.region).map(str::as_bytes) {
            Some([b'a'..=b'z']) => Ok(()),
            Some(_) | None => Err(SpecError::Zone {
                name: name.clone(),
                zone: zone.clone(),
                region: self.region.clone(),
            }),
        }
    }
}

fn check_blocks(blocks: &[Ipv4Network]) -> Result<(), SpecError> {
    for (index, block) in blocks.iter().enumerate() {
        // EC2: "The allowed block size is between a /28 netmask and /16 netmask."
        if block.ip() != block.network() || !(16..=28).contains(&block.prefix()) {
            return Err(SpecError::Block(*block));
        }
        if let Some(other) = blocks[..index].iter().find(|other| other.overlaps(*block)) {
            return Err(SpecError::Overlap(*other, *block));
        }
    }
    Ok(())
}

fn names<'a>(name: &'a String, id: &'a Option<String>) -> impl Iterator<Item = &'a String> {
    std::iter::once(name).chain(id.as_ref().filter(move |id| *id != name))
}

fn yes() -> bool {
    true
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// What to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name of the node that the instance becomes; no two instances that live have the same.
    pub node: String,
    /// A name from [`limits::all`].
    pub instance_type: String,
    /// Id of the subnet of its primary interface.
    pub subnet_id: String,
    /// Ids of the security groups of its primary interface; empty for the VPC's default group.
    pub groups: Vec<String>,
    /// Name of the role whose credentials the metadata service hands out; none without.
    pub role: Option<String>,
}

impl Launch {
    /// The limits of the type to launch.
    pub(super) fn limits(&self) -> Option<&'static limits::InstanceType> {
        limits::all().get(&self.instance_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_world() {
        let spec: Spec = toml::from_str("").unwrap();

        assert_eq!(spec.check(), Ok(()));
        assert_eq!(spec.region, "us-west-2");
    }

    #[test]
    fn a_file_says_latencies_in_milliseconds() {
        let text = "seed = 7\n[latency]\nattach_ms = 1500\n[imds]\nlag_ms = 0\n
            [[groups]]\nname = 'web'\n
            ingress = [{ protocol = 'tcp', ports = [80, 443], cidr = '0.0.0.0/0' }]";

        let spec: Spec = toml::from_str(text).unwrap();

        assert_eq!(spec.latency.attach, Duration::from_millis(1500));
        assert_eq!(spec.latency.device, Latency::default().device);
        assert_eq!(spec.imds.lag, Duration::ZERO);
        assert_eq!(spec.groups[0].ingress[0].wire_protocol(), Protocol::Tcp(80, 443));
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Spec), want: &str) {
        let mut spec = Spec::default();

        change(&mut spec);

        assert_eq!(spec.check().map_err(|error| error.to_string()), Err(want.into()));
    }

    #[test]
    fn a_spec_that_ec2_would_refuse_is_refused() {
        check(
            |spec| spec.cidrs.clear(),
            "the VPC has no address block: give at least one in `cidrs`",
        );
        check(
            |spec| spec.subnets[1].cidr = spec.subnets[0].cidr,
            "10.0.0.0/24 and 10.0.0.0/24 overlap",
        );
        check(
            |spec| spec.subnets[0].cidr = "172.16.0.0/24".parse().unwrap(),
            "subnet nodes-a (172.16.0.0/24) is outside of the VPC's address blocks",
        );
        check(
            |spec| spec.subnets[0].zone = "eu-west-1a".into(),
            "subnet nodes-a: zone eu-west-1a must be the region us-west-2 and one letter",
        );
        check(
            |spec| spec.subnets[1].name = "nodes-a".into(),
            "`nodes-a` names two things: give each subnet and group its own name and id",
        );
    }
}
