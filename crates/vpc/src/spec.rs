//! The description of a VPC, in a world file or a test.

use super::{access::AccessSpec, subnet::ReservationType, throttle::ThrottleSpec};
use crate::topology::Protocol;
use ipnetwork::Ipv4Network;
use serde::{Deserialize, Deserializer, Serialize};
use std::{net::Ipv4Addr, time::Duration};

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
    /// How much there may be of what AWS raises on request.
    pub quotas: Quotas,
    /// Whose calls are taken.
    pub access: AccessSpec,
    /// What AWS does and does not say.
    pub undocumented: Undocumented,
    /// Packets a second that an interface may send to link-local services; AWS's number cannot be
    /// raised. 0 is without limit.
    pub link_local_packets: u32,
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
    /// Blocks that are kept for prefixes: single addresses do not come from them, and prefixes do
    /// first. Subnet CIDR reservations of the type `prefix`.
    #[serde(default)]
    pub prefix_reservations: Vec<Ipv4Network>,
    /// Blocks that nothing comes from unless it is asked for by name. Subnet CIDR reservations of
    /// the type `explicit`.
    #[serde(default)]
    pub explicit_reservations: Vec<Ipv4Network>,
}

impl SubnetSpec {
    /// All reserved blocks.
    pub(super) fn reservations(&self) -> impl Iterator<Item = (ReservationType, Ipv4Network)> {
        let of = |kind, blocks: &[Ipv4Network]| {
            blocks.iter().map(|block| (kind, *block)).collect::<Vec<_>>()
        };
        let prefix = of(ReservationType::Prefix, &self.prefix_reservations);
        prefix.into_iter().chain(of(ReservationType::Explicit, &self.explicit_reservations))
    }
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// How much there may be of what AWS raises on request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Security groups of an interface; AWS raises it to 16.
    pub groups_per_interface: usize,
    /// Network interfaces of the region.
    pub interfaces_per_region: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { groups_per_interface: 5, interfaces_per_region: 5_000 }
    }
}

/// Packets a second that an interface may send to metadata, DNS and time together, as the EC2 user
/// guide says ("DNS attributes for your VPC", "IMDS throttling").
const LINK_LOCAL_PACKETS: u32 = 1_024;

/// What AWS does and does not say: a client must not depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Undocumented {
    /// The code of an attach across zones.
    pub attach_across_zones: String,
    /// Addresses and prefixes that an interface may have while it is attached to none; no limit
    /// when absent: only an instance's type has one.
    pub addresses_unattached: Option<u32>,
}

impl Default for Undocumented {
    fn default() -> Self {
        Self { attach_across_zones: "InvalidParameterValue".into(), addresses_unattached: None }
    }
}

/// The instance metadata service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImdsSpec {
    /// Whether an instance may use it at all.
    pub enabled: bool,
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
        Self { enabled: true, v1: false, hop_limit: 1, lag: Duration::from_millis(100) }
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
            prefix_reservations: Vec::new(),
            explicit_reservations: Vec::new(),
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
            quotas: Quotas::default(),
            access: AccessSpec::default(),
            undocumented: Undocumented::default(),
            link_local_packets: LINK_LOCAL_PACKETS,
            seed: 0,
        }
    }
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
    /// A name from [`instances::all`].
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
    pub(super) fn limits(&self) -> Option<&'static instances::InstanceType> {
        instances::all().get(&self.instance_type)
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
}
