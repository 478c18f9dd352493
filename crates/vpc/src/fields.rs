//! What descriptions can be filtered by.

use super::{
    Group, Instance, Interface, Subnet, Vpc,
    filter::{Field, Resource},
    reservation::CidrReservation,
};
use instances::InstanceType;

fn one(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}

fn some(value: Option<impl ToString>) -> Vec<String> {
    value.map(|value| value.to_string()).into_iter().collect()
}

impl Resource for Interface {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "network-interface-id" => |_, eni| one(&eni.id),
            "subnet-id" => |_, eni| one(&eni.subnet_id),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "status" => |_, eni| one(eni.status()),
            "description" => |_, eni| one(&eni.description),
            "mac-address" => |_, eni| one(eni.mac),
            "owner-id" => |vpc, _| one(vpc.account()),
            "requester-managed" => |_, _| one(false),
            "interface-type" => |_, _| one("interface"),
            "source-dest-check" => |_, eni| one(eni.source_dest_check),
            "availability-zone" => |vpc, eni| some(vpc.zone_of(eni)),
            "private-dns-name" => |vpc, eni| one(vpc.private_dns_name(eni.primary)),
            "private-ip-address" => |_, eni| one(eni.primary),
            "addresses.private-ip-address" => {
                |_, eni| eni.addresses().map(|ip| ip.to_string()).collect()
            }
            "addresses.primary" => {
                |_, eni| eni.addresses().map(|ip| (ip == eni.primary).to_string()).collect()
            }
            "ipv4-prefix" | "ipv4-prefixes.ipv4-prefix" => {
                |_, eni| eni.prefixes.iter().map(ToString::to_string).collect()
            }
            "group-id" => |_, eni| eni.groups.clone(),
            "group-name" => |vpc, eni| {
                let name = |id: &String| vpc.groups.get(id).map(|group| group.name.clone());
                eni.groups.iter().filter_map(name).collect()
            },
            "association.public-ip" | "addresses.association.public-ip" => {
                |_, eni| some(eni.public)
            }
            name => return Self::attachment_field(name.strip_prefix("attachment.")?),
        })
    }
}

impl Interface {
    fn attachment_field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "attachment-id" => |_, eni| some(eni.attachment.as_ref().map(|at| &at.id)),
            "instance-id" => |_, eni| some(eni.attachment.as_ref().map(|at| &at.instance_id)),
            "instance-owner-id" => |vpc, eni| some(eni.attachment.as_ref().map(|_| vpc.account())),
            "device-index" => |_, eni| some(eni.attachment.as_ref().map(|at| at.device_index)),
            "network-card-index" => |_, eni| some(eni.attachment.as_ref().map(|at| at.card_index)),
            "status" => |_, eni| some(eni.attachment.as_ref().map(|at| at.state.as_str())),
            "delete-on-termination" => {
                |_, eni| some(eni.attachment.as_ref().map(|at| at.delete_on_termination))
            }
            _ => return None,
        })
    }
}

impl Resource for Instance {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "instance-id" => |_, instance| one(&instance.id),
            "instance-type" => |_, instance| one(&instance.instance_type.name),
            "instance-state-name" => |_, instance| one(instance.state().1),
            "instance-state-code" => |_, instance| one(instance.state().0),
            "subnet-id" => |_, instance| one(&instance.subnet_id),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "availability-zone" => |_, instance| one(&instance.zone),
            "private-ip-address" => |_, instance| one(instance.private_ip),
            "private-dns-name" => |vpc, instance| one(vpc.private_dns_name(instance.private_ip)),
            "reservation-id" => |_, instance| one(&instance.reservation_id),
            "network-interface.network-interface-id" => {
                |_, instance| instance.interfaces.iter().map(ToString::to_string).collect()
            }
            _ => return None,
        })
    }
}

impl Instance {
    /// EC2's code and name of its state.
    #[must_use]
    pub fn state(&self) -> (u32, &'static str) {
        if self.running { (16, "running") } else { (48, "terminated") }
    }
}

impl Resource for Subnet {
    fn id(&self) -> &str {
        &self.id
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "subnet-id" => |_, subnet| one(&subnet.id),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "state" => |_, _| one("available"),
            "availability-zone" | "availabilityZone" => |_, subnet| one(&subnet.zone),
            "availability-zone-id" | "availabilityZoneId" => {
                |vpc, subnet| one(vpc.zone_id(&subnet.zone))
            }
            "cidr-block" | "cidr" | "cidrBlock" => |_, subnet| one(subnet.cidr),
            "available-ip-address-count" => |_, subnet| one(subnet.free()),
            "default-for-az" | "defaultForAz" => |_, _| one(false),
            "map-public-ip-on-launch" => |_, subnet| one(subnet.public_ips),
            "owner-id" => |vpc, _| one(vpc.account()),
            _ => return None,
        })
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

impl Resource for Group {
    fn id(&self) -> &str {
        &self.id
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "group-id" => |_, group| one(&group.id),
            "group-name" => |_, group| one(&group.name),
            "description" => |_, group| one(&group.name),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "owner-id" => |vpc, _| one(vpc.account()),
            _ => return None,
        })
    }
}

impl Resource for Vpc {
    fn id(&self) -> &str {
        self.id()
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "vpc-id" => |_, vpc| one(vpc.id()),
            "state" => |_, _| one("available"),
            "cidr" => |_, vpc| some(vpc.cidrs().first()),
            "cidr-block-association.cidr-block" => {
                |_, vpc| vpc.cidrs().iter().map(ToString::to_string).collect()
            }
            "is-default" => |_, _| one(false),
            "owner-id" => |_, vpc| one(vpc.account()),
            _ => return None,
        })
    }
}

impl Resource for InstanceType {
    fn id(&self) -> &str {
        &self.name
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "instance-type" => |_, kind| one(&kind.name),
            "bare-metal" => |_, kind| one(kind.bare_metal),
            "hypervisor" => |_, kind| some(kind.hypervisor.map(instances::Hypervisor::as_str)),
            "network-info.maximum-network-interfaces" => |_, kind| one(kind.interfaces),
            "network-info.maximum-network-cards" => |_, kind| one(kind.cards.len()),
            "network-info.ipv4-addresses-per-interface" => |_, kind| one(kind.ipv4_per_interface),
            _ => return None,
        })
    }
}
