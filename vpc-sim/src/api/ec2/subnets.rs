//! Subnets, described, and the blocks of them that are reserved.

use super::{
    call::{Asked, Entry, Scene, lookup, tags_for},
    params::Params,
    write::{Describe, page},
    xml::Xml,
};
use vpc::{
    Action, Ec2Error, Subnet,
    reservation::{CidrReservation, CreateReservation},
};

pub(super) const CALLS: &[Entry] = &[
    (Action::DESCRIBE_SUBNETS, describe),
    (Action::CREATE_SUBNET_CIDR_RESERVATION, reserve),
    (Action::DELETE_SUBNET_CIDR_RESERVATION, unreserve),
    (Action::GET_SUBNET_CIDR_RESERVATIONS, reservations),
];

/// What `TagSpecification.N.ResourceType` of a reservation must be.
const RESERVATION_RESOURCE: &str = "subnet-cidr-reservation";

fn describe(p: &mut Params) -> Result<Asked, Ec2Error> {
    let lookup = lookup(p, "SubnetId")?;
    Ok(Asked::look_up(lookup, |scene, lookup| {
        let past = scene.past();
        let found = scene.vpc.describe_subnets(lookup)?;
        let describe = Describe { past: past.as_ref(), ..scene.describe() };
        Ok(page("subnetSet", &found, |xml, item| describe.subnet(xml, item)))
    }))
}

fn reserve(p: &mut Params) -> Result<Asked, Ec2Error> {
    let kind = p.required("ReservationType")?;
    let Ok(kind) = kind.parse() else {
        let message = format!("Value ({kind}) for parameter ReservationType is invalid.");
        return Err(Ec2Error::invalid(message));
    };
    let request = CreateReservation {
        subnet_id: p.required("SubnetId")?,
        cidr: p.required_parsed("Cidr")?,
        kind,
        description: p.text("Description")?.unwrap_or_default(),
        tags: tags_for(p, RESERVATION_RESOURCE)?,
    };
    let (about, tags) = ([request.subnet_id.clone()], request.tags.clone());
    let asked = Asked::to(move |scene| {
        let made = scene.vpc.create_subnet_cidr_reservation(&request)?.clone();
        Ok(reservation(scene, "subnetCidrReservation", &made))
    });
    Ok(asked.about(about).makes(RESERVATION_RESOURCE, tags))
}

fn unreserve(p: &mut Params) -> Result<Asked, Ec2Error> {
    let id = p.required("SubnetCidrReservationId")?;
    let about = [id.clone()];
    let asked = Asked::to(move |scene| {
        let gone = scene.vpc.delete_subnet_cidr_reservation(&id)?;
        Ok(reservation(scene, "deletedSubnetCidrReservation", &gone))
    });
    Ok(asked.about(about))
}

fn reservation(scene: &Scene<'_>, name: &str, it: &CidrReservation) -> Xml {
    let mut xml = Xml::default();
    xml.element(name, |xml| scene.describe().reservation_of_cidr(xml, it));
    xml
}

fn reservations(p: &mut Params) -> Result<Asked, Ec2Error> {
    let subnet_id = p.required("SubnetId")?;
    let lookup = lookup(p, "Id")?;
    Ok(Asked::look_up(lookup, move |scene, lookup| {
        let found = scene.vpc.subnet_cidr_reservations(&subnet_id, lookup)?;
        let describe = scene.describe();
        let write = |xml: &mut Xml, item: &_| describe.reservation_of_cidr(xml, item);
        let mut xml = page("subnetIpv4CidrReservationSet", &found, write);
        xml.set("subnetIpv6CidrReservationSet", [(); 0], |_, ()| {});
        Ok(xml)
    }))
}

impl Describe<'_> {
    fn subnet(&self, xml: &mut Xml, subnet: &Subnet) {
        let (region, account) = (self.vpc.region(), self.vpc.account());
        let arn = format!("arn:aws:ec2:{region}:{account}:subnet/{}", subnet.id);
        xml.text("subnetId", &subnet.id);
        xml.text("subnetArn", arn);
        xml.text("state", "available");
        xml.text("ownerId", account);
        xml.text("vpcId", self.vpc.id());
        xml.text("cidrBlock", subnet.cidr);
        xml.text("ipv6CidrBlockAssociationSet", "");
        xml.text("assignIpv6AddressOnCreation", false);
        let free =
            self.past.map_or_else(|| subnet.free(), |past| subnet.free_beside(past.values()));
        xml.text("availableIpAddressCount", free);
        xml.text("availabilityZone", &subnet.zone);
        xml.text("availabilityZoneId", self.vpc.zone_id(&subnet.zone));
        xml.text("defaultForAz", false);
        xml.text("mapPublicIpOnLaunch", subnet.public_ips);
        self.tags(xml, &subnet.id);
    }

    fn reservation_of_cidr(&self, xml: &mut Xml, it: &CidrReservation) {
        xml.text("subnetCidrReservationId", &it.id);
        xml.text("subnetId", &it.subnet_id);
        xml.text("cidr", it.cidr);
        xml.text("reservationType", it.kind.as_str());
        xml.text("ownerId", self.vpc.account());
        xml.optional("description", Some(&it.description).filter(|text| !text.is_empty()));
        self.tags(xml, &it.id);
    }
}
