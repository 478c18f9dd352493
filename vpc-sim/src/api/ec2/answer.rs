//! From a request to the body of its answer.

use super::{
    describe::{Describe, page},
    xml::Xml,
};
use crate::api::cloud::Clock;
use std::time::Duration;
use vpc::{
    Ec2Error, Time, Vpc, assign::Assigned, attach::Attach, create::CreateInterface,
    request::Request, reservation::CidrReservation,
};

/// Carries out a request and writes the inside of its answer. What it reads is `lag` old.
pub(super) fn content(
    vpc: &mut Vpc,
    now: Time,
    clock: &Clock,
    request: &Request,
    lag: Duration,
) -> Result<Xml, Ec2Error> {
    match request {
        Request::Create(request) => create(vpc, now, clock, request),
        Request::Attach(request) => attach(vpc, now, request),
        Request::Detach { attachment_id, how } => {
            done(vpc.detach_network_interface(now, attachment_id, *how))
        }
        Request::Delete { interface_id } => done(vpc.delete_network_interface(now, interface_id)),
        Request::Modify { interface_id, attribute } => {
            done(vpc.modify_network_interface_attribute(now, interface_id, attribute))
        }
        Request::Assign { interface_id, wanted, reassignment } => {
            let new = vpc.assign_private_ip_addresses(now, interface_id, wanted, *reassignment)?;
            Ok(assigned(interface_id, &new))
        }
        Request::Unassign { interface_id, gone } => {
            done(vpc.unassign_private_ip_addresses(now, interface_id, gone))
        }
        Request::CreateTags { resources, tags } => done(vpc.create_tags(resources, tags)),
        Request::CreateReservation(request) => {
            let made = vpc.create_subnet_cidr_reservation(request)?.clone();
            Ok(reservation(vpc, clock, "subnetCidrReservation", &made))
        }
        Request::DeleteReservation { id } => {
            let gone = vpc.delete_subnet_cidr_reservation(id)?;
            Ok(reservation(vpc, clock, "deletedSubnetCidrReservation", &gone))
        }
        Request::GetReservations { subnet_id, lookup } => {
            let found = vpc.subnet_cidr_reservations(subnet_id, lookup)?;
            let describe = Describe { vpc, clock, past: None };
            let write = |xml: &mut Xml, item: &_| describe.reservation_of_cidr(xml, item);
            let mut xml = page("subnetIpv4CidrReservationSet", &found, write);
            xml.set("subnetIpv6CidrReservationSet", [(); 0], |_, ()| {});
            Ok(xml)
        }
        Request::DescribeInterfaces(lookup) => {
            let past = vpc.interfaces_as_of(now, lag);
            let found = match &past {
                Some(past) => vpc.describe_interfaces_among(past, lookup)?,
                None => vpc.describe_network_interfaces(lookup)?,
            };
            let describe = Describe { vpc, clock, past: None };
            Ok(page("networkInterfaceSet", &found, |xml, item| describe.interface(xml, item)))
        }
        Request::DescribeInstances(lookup) => {
            let past = vpc.interfaces_as_of(now, lag);
            let found = vpc.describe_instances(lookup)?;
            let describe = Describe { vpc, clock, past: past.as_ref() };
            Ok(page("reservationSet", &found, |xml, item| describe.reservation(xml, item)))
        }
        Request::DescribeInstanceTypes(lookup) => {
            let found = vpc.describe_instance_types(lookup)?;
            Ok(page("instanceTypeSet", &found, super::describe::instance_type))
        }
        Request::DescribeSubnets(lookup) => {
            let past = vpc.interfaces_as_of(now, lag);
            let found = vpc.describe_subnets(lookup)?;
            let describe = Describe { vpc, clock, past: past.as_ref() };
            Ok(page("subnetSet", &found, |xml, item| describe.subnet(xml, item)))
        }
        Request::DescribeSecurityGroups(lookup) => {
            let found = vpc.describe_security_groups(lookup)?;
            let describe = Describe { vpc, clock, past: None };
            Ok(page("securityGroupInfo", &found, |xml, item| describe.group(xml, item)))
        }
        Request::DescribeVpcs(lookup) => {
            let found = vpc.describe_vpcs(lookup)?;
            let describe = Describe { vpc, clock, past: None };
            Ok(page("vpcSet", &found, |xml, _| describe.vpc(xml)))
        }
    }
}

fn create(
    vpc: &mut Vpc,
    now: Time,
    clock: &Clock,
    request: &CreateInterface,
) -> Result<Xml, Ec2Error> {
    let interface = vpc.create_network_interface(now, request)?.clone();
    let describe = Describe { vpc, clock, past: None };
    let mut xml = Xml::default();
    xml.element("networkInterface", |xml| describe.interface(xml, &interface));
    xml.optional("clientToken", request.client_token.as_ref());
    Ok(xml)
}

fn reservation(vpc: &Vpc, clock: &Clock, name: &str, it: &CidrReservation) -> Xml {
    let describe = Describe { vpc, clock, past: None };
    let mut xml = Xml::default();
    xml.element(name, |xml| describe.reservation_of_cidr(xml, it));
    xml
}

fn attach(vpc: &mut Vpc, now: Time, request: &Attach) -> Result<Xml, Ec2Error> {
    let attachment = vpc.attach_network_interface(now, request)?;
    let mut xml = Xml::default();
    xml.text("attachmentId", &attachment.id);
    xml.text("networkCardIndex", attachment.card_index);
    Ok(xml)
}

/// Only what is new: clients add it to what they know.
fn assigned(interface_id: &str, new: &Assigned) -> Xml {
    let mut xml = Xml::default();
    xml.text("networkInterfaceId", interface_id);
    xml.set("assignedPrivateIpAddressesSet", &new.addresses, |xml, address| {
        xml.text("privateIpAddress", address);
    });
    xml.set("assignedIpv4PrefixSet", &new.prefixes, |xml, prefix| xml.text("ipv4Prefix", prefix));
    xml.text("return", true);
    xml
}

fn done(result: Result<(), Ec2Error>) -> Result<Xml, Ec2Error> {
    result?;
    let mut xml = Xml::default();
    xml.text("return", true);
    Ok(xml)
}
