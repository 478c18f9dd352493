//! Subnet CIDR reservations: blocks of a subnet that addresses do not come from by themselves.

pub use super::subnet::{CidrReservation, ReservationType};

use super::{
    action::{Action, actions},
    describe::page_of,
    error::Ec2Error,
    filter::{Field, Resource, one},
    ids::Kind,
    lookup::{Lookup, Page},
    state::Vpc,
    subnet::{Subnet, is_block_of},
    tags,
};
use ipnetwork::Ipv4Network;
use std::collections::BTreeMap;

actions! {
    /// Keep a block of a subnet for something.
    CREATE_SUBNET_CIDR_RESERVATION = Action::new("CreateSubnetCidrReservation", 5, 1);
    /// Keep a block of a subnet no longer.
    DELETE_SUBNET_CIDR_RESERVATION = Action::new("DeleteSubnetCidrReservation", 50, 5);
    /// Look the kept blocks of a subnet up.
    GET_SUBNET_CIDR_RESERVATIONS = Action::new("GetSubnetCidrReservations", 100, 20);
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
        page_of(self, self.reservations.values().filter(|it| it.subnet_id == *id), lookup)
    }
}

impl Resource for CidrReservation {
    fn id(&self) -> &str {
        &self.id
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "subnet-id" => |_, reservation| one(&reservation.subnet_id),
            "reservationType" => |_, reservation| one(reservation.kind.as_str()),
            _ => return None,
        })
    }
}
