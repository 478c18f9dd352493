//! Whether EC2 would make what a specification describes.

use super::{
    spec::{Spec, SubnetSpec},
    subnet::is_block_of,
};
use ipnetwork::Ipv4Network;
use std::collections::BTreeSet;

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
    /// A reservation is in another subnet, or in none.
    #[error("subnet {name}: {kind} reservation {block} must be a canonical block inside of it")]
    Reservation {
        /// The subnet's name.
        name: String,
        /// `prefix` or `explicit`.
        kind: &'static str,
        /// The reservation.
        block: Ipv4Network,
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
        let reserved: Vec<_> = subnet.reservations().collect();
        for (index, (kind, block)) in reserved.iter().enumerate() {
            if !is_block_of(*cidr, *block) {
                let (name, kind, block) = (name.clone(), kind.as_str(), *block);
                return Err(SpecError::Reservation { name, kind, block });
            }
            if let Some((_, other)) = reserved[..index].iter().find(|it| it.1.overlaps(*block)) {
                return Err(SpecError::Overlap(*other, *block));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

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
            |spec| spec.subnets[0].prefix_reservations = vec!["10.0.1.0/28".parse().unwrap()],
            "subnet nodes-a: prefix reservation 10.0.1.0/28 must be a canonical block inside of it",
        );
        check(
            |spec| {
                spec.subnets[0].prefix_reservations = vec!["10.0.0.32/28".parse().unwrap()];
                spec.subnets[0].explicit_reservations = vec!["10.0.0.32/27".parse().unwrap()];
            },
            "10.0.0.32/28 and 10.0.0.32/27 overlap",
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
