//! Subnet CIDR reservations: blocks of a subnet that addresses do not come from by themselves.

use super::{
    Subnet, Vpc,
    error::Ec2Error,
    ids::Kind,
    lookup::{Lookup, Page},
    tags,
};
use ipnetwork::Ipv4Network;
use serde::Deserialize;
use std::{collections::BTreeMap, str::FromStr};

/// What a reserved block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservationType {
    /// For prefixes, which come from here first.
    Prefix,
    /// For addresses and prefixes that are asked for by name.
    Explicit,
}

impl ReservationType {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Explicit => "explicit",
        }
    }
}

impl FromStr for ReservationType {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Prefix, Self::Explicit].into_iter().find(|it| it.as_str() == name).ok_or(())
    }
}

/// A reserved block of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrReservation {
    /// Its id: `scr-0…`.
    pub id: String,
    /// Id of the subnet.
    pub subnet_id: String,
    /// The block.
    pub cidr: Ipv4Network,
    /// What it is for.
    pub kind: ReservationType,
    /// Words for people.
    pub description: String,
}

/// What to reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateReservation {
    /// Id of the subnet.
    pub subnet_id: String,
    /// The block.
    pub cidr: Ipv4Network,
    /// What it is for.
    pub kind: ReservationType,
    /// Words for people.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl Vpc {
    /// `CreateSubnetCidrReservation`. Addresses that are in use stay where they are.
    ///
    /// # Errors
    /// As EC2: the block is in the subnet and in no other reservation.
    pub fn create_subnet_cidr_reservation(
        &mut self,
        request: &CreateReservation,
    ) -> Result<&CidrReservation, Ec2Error> {
        let CreateReservation { subnet_id, cidr, kind, description, tags } = request;
        let subnet = self.subnet(subnet_id)?;
        tags::check(tags, 0)?;
        if !is_block_of(subnet.cidr, *cidr) {
            let message = format!("The CIDR '{cidr}' is not a block of the subnet '{subnet_id}'.");
            return Err(Ec2Error::invalid(message));
        }
        let mut of_subnet = self.reservations.values().filter(|it| it.subnet_id == *subnet_id);
        if let Some(other) = of_subnet.find(|it| it.cidr.overlaps(*cidr)) {
            let message =
                format!("The CIDR '{cidr}' conflicts with the reservation '{}'.", other.id);
            return Err(Ec2Error::invalid(message));
        }
        let id = Kind::CidrReservation.random(&mut self.rng);
        self.subnet_mut(subnet_id).space.reserve(*kind, *cidr);
        if !tags.is_empty() {
            self.tags.insert(id.clone(), tags.clone());
        }
        let reservation = CidrReservation {
            id: id.clone(),
            subnet_id: subnet_id.clone(),
            cidr: *cidr,
            kind: *kind,
            description: description.clone(),
        };
        Ok(self.reservations.entry(id).insert_entry(reservation).into_mut())
    }

    /// `DeleteSubnetCidrReservation`: what it was.
    ///
    /// # Errors
    /// As EC2, when there is none with that id.
    pub fn delete_subnet_cidr_reservation(
        &mut self,
        id: &str,
    ) -> Result<CidrReservation, Ec2Error> {
        let Some(gone) = self.reservations.remove(id) else {
            return Err(Kind::CidrReservation.unknown(id));
        };
        self.subnet_mut(&gone.subnet_id).space.unreserve(gone.cidr);
        self.tags.remove(id);
        Ok(gone)
    }

    /// `GetSubnetCidrReservations`. The ids of `lookup` are not looked at.
    ///
    /// # Errors
    /// As EC2.
    pub fn subnet_cidr_reservations(
        &self,
        subnet_id: &str,
        lookup: &Lookup,
    ) -> Result<Page<'_, CidrReservation>, Ec2Error> {
        let Subnet { id, .. } = self.subnet(subnet_id)?;
        self.page_of(self.reservations.values().filter(|it| it.subnet_id == *id), lookup)
    }
}

/// Whether a block is canonical and inside of another one.
pub(super) fn is_block_of(whole: Ipv4Network, block: Ipv4Network) -> bool {
    block.ip() == block.network()
        && whole.contains(block.network())
        && whole.contains(block.broadcast())
}
