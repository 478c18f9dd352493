//! Creating, changing and deleting interfaces.

pub use super::interface::{CreateInterface, Family};

use super::{
    action::{Action, actions},
    assign::{check_unattached, choose, give},
    error::Ec2Error,
    groups::DEFAULT,
    ids::{EniId, Kind},
    interface::{Interface, Wanted},
    state::{Created, Vpc},
    tags,
    time::Time,
};
use net::Mac;
use rand::Rng;
use std::net::{Ipv4Addr, Ipv6Addr};

actions! {
    /// Make an interface.
    CREATE_NETWORK_INTERFACE = Action::new("CreateNetworkInterface", 100, 5);
    /// Remove an interface.
    DELETE_NETWORK_INTERFACE = Action::new("DeleteNetworkInterface", 100, 5);
    /// Change one attribute of an interface.
    MODIFY_NETWORK_INTERFACE_ATTRIBUTE = Action::new("ModifyNetworkInterfaceAttribute", 100, 5);
}

/// Longest client token.
const TOKEN_LENGTH: usize = 64;

/// One attribute of an interface, as `ModifyNetworkInterfaceAttribute` changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The whole set of security groups.
    Groups(Vec<String>),
    /// Whether it goes when its instance goes.
    DeleteOnTermination {
        /// The interface's attachment.
        attachment_id: String,
        /// What it shall be.
        value: bool,
    },
    /// The source/destination check.
    SourceDestCheck(bool),
    /// Its description.
    Description(String),
}

impl Vpc {
    /// `CreateNetworkInterface`.
    ///
    /// # Errors
    /// As EC2.
    pub fn create_network_interface(
        &mut self,
        now: Time,
        request: &CreateInterface,
    ) -> Result<&Interface, Ec2Error> {
        if let Some(id) = created_before(self, request)? {
            return Ok(&self.interfaces[&id]);
        }
        let groups = resolve_groups(self, &request.groups)?;
        tags::check(&request.tags, 0)?;
        check_family(request)?;
        check_unattached(self, usize::from(request.has_ipv4()), &request.wanted)?;
        if self.interfaces.len() >= self.spec.quotas.interfaces_per_region {
            let message = "The maximum number of network interfaces has been reached.";
            return Err(Ec2Error::new("NetworkInterfaceLimitExceeded", message));
        }
        let id = EniId::random(&mut self.rng);
        let primary = take_primary(self, request, &id)?;
        let (secondary, prefixes) = match choose(self, &request.subnet_id, &request.wanted) {
            Ok(chosen) => chosen,
            Err(error) => {
                let space = &mut self.subnet_mut(&request.subnet_id).space;
                primary.into_iter().for_each(|primary| space.release(primary));
                // Seen from CreateNetworkInterface: one code for whatever prefixes lack.
                let block_code = error.code == Ec2Error::no_free_blocks().code;
                return Err(match block_code {
                    true => Ec2Error::no_free_addresses_or_prefixes(),
                    false => error,
                });
            }
        };
        let mac = random_mac(self);
        let ipv6 = take_ipv6(self, request);
        let mut interface = Interface {
            id: id.clone(),
            subnet_id: request.subnet_id.clone(),
            description: request.description.clone(),
            mac,
            kind: request.kind,
            primary,
            secondary: Vec::new(),
            prefixes: Vec::new(),
            ipv6,
            public: None,
            groups,
            source_dest_check: true,
            attachment: None,
        };
        give(self, &mut interface, secondary, prefixes);
        if let Some(token) = &request.client_token {
            let created = Created { request: request.clone(), id: id.clone() };
            self.created.insert(token.clone(), created);
            self.index.tokens.insert(id.clone(), token.clone());
        }
        if !request.tags.is_empty() {
            self.tags.insert(id.0.clone(), request.tags.clone());
        }
        self.interfaces.insert(id.clone(), interface);
        self.changed();
        self.remember(now, &id);
        Ok(&self.interfaces[&id])
    }

    /// `DeleteNetworkInterface`.
    ///
    /// # Errors
    /// As EC2: not while it is attached, attaching or detaching.
    pub fn delete_network_interface(&mut self, now: Time, id: &str) -> Result<(), Ec2Error> {
        let interface = self.interface(id)?;
        if interface.attachment.is_some() {
            let message = format!("Network interface '{id}' is currently in use.");
            return Err(Ec2Error::invalid(message));
        }
        let id = interface.id.clone();
        self.remove_interface(now, &id);
        Ok(())
    }

    /// Takes an interface and all its addresses away.
    pub(super) fn remove_interface(&mut self, now: Time, id: &EniId) {
        let Some(interface) = self.interfaces.remove(id) else { return };
        let space = &mut self.subnet_mut(&interface.subnet_id).space;
        interface.addresses().for_each(|address| space.release(address));
        interface.prefixes.iter().for_each(|prefix| space.release_prefix(*prefix));
        self.tags.remove(id.as_str());
        self.index.macs.remove(&interface.mac);
        if let Some(token) = self.index.tokens.remove(id) {
            self.created.remove(&token);
        }
        self.changed();
        self.remember(now, id);
    }

    /// `ModifyNetworkInterfaceAttribute`.
    ///
    /// # Errors
    /// As EC2.
    pub fn modify_network_interface_attribute(
        &mut self,
        now: Time,
        id: &str,
        attribute: &Attribute,
    ) -> Result<(), Ec2Error> {
        let id = self.interface(id)?.id.clone();
        match attribute {
            Attribute::Groups(groups) => {
                let groups = resolve_groups(self, groups)?;
                self.interface_mut(&id).groups = groups;
            }
            Attribute::SourceDestCheck(value) => {
                self.interface_mut(&id).source_dest_check = *value;
            }
            Attribute::Description(text) => {
                self.interface_mut(&id).description.clone_from(text);
            }
            Attribute::DeleteOnTermination { attachment_id, value } => {
                let attachment = self.interface_mut(&id).attachment.as_mut();
                match attachment.filter(|attachment| attachment.id.as_str() == attachment_id) {
                    Some(attachment) => attachment.delete_on_termination = *value,
                    None => return Err(Kind::Attachment.unknown(attachment_id)),
                }
            }
        }
        self.interface_changed(now, &id);
        Ok(())
    }
}

// EC2, "Ensuring idempotency": the same token with other parameters is an error.
fn created_before(vpc: &Vpc, request: &CreateInterface) -> Result<Option<EniId>, Ec2Error> {
    let Some(token) = &request.client_token else { return Ok(None) };
    if token.len() > TOKEN_LENGTH || !token.is_ascii() {
        return Err(Ec2Error::invalid("The client token must be at most 64 ASCII characters."));
    }
    match vpc.created.get(token) {
        Some(created) if created.request == *request => Ok(Some(created.id.clone())),
        Some(_) => Err(Ec2Error::new(
            "IdempotentParameterMismatch",
            format!("The client token '{token}' was used with other parameters."),
        )),
        None => Ok(None),
    }
}

fn take_primary(
    vpc: &mut Vpc,
    request: &CreateInterface,
    id: &EniId,
) -> Result<Option<Ipv4Addr>, Ec2Error> {
    vpc.subnet(&request.subnet_id)?;
    if !request.has_ipv4() {
        return Ok(None);
    }
    let subnet = vpc.subnets.get_mut(&request.subnet_id).expect("the line above looked it up");
    let primary = match request.primary {
        Some(address) if !subnet.space.is_usable(address) => {
            return Err(Ec2Error::outside_subnet(address));
        }
        Some(address) if subnet.space.owner(address).is_some() => {
            let message = format!("Address {address} is in use.");
            return Err(Ec2Error::new("InvalidIPAddress.InUse", message));
        }
        Some(address) => address,
        None => match subnet.space.pick(1, &mut vpc.rng).as_deref() {
            Some([address]) => *address,
            _ if request.wanted.is_prefixes() => {
                return Err(Ec2Error::no_free_addresses_or_prefixes());
            }
            _ => return Err(Ec2Error::no_free_addresses()),
        },
    };
    subnet.space.take(primary, id);
    Ok(Some(primary))
}

/// An address of the subnet's IPv6 block, for an interface that has no other.
fn take_ipv6(vpc: &mut Vpc, request: &CreateInterface) -> Option<Ipv6Addr> {
    if !request.kind.has_addresses() || request.family == Family::Ipv4 {
        return None;
    }
    let host = u128::from(vpc.rng.random::<u64>());
    Some((u128::from(vpc.ipv6_block(&request.subnet_id).network()) | host).into())
}

fn random_mac(vpc: &mut Vpc) -> Mac {
    loop {
        // Locally administered, unicast, and the same first byte for the whole VPC.
        let [a, b, c, d, e] = vpc.rng.random();
        let mac = Mac([0x06, a, b, c, d, e]);
        if vpc.index.macs.insert(mac) {
            return mac;
        }
    }
}

/// Group ids that exist and are not too many; the default group for none.
pub(super) fn resolve_groups(vpc: &Vpc, ids: &[String]) -> Result<Vec<String>, Ec2Error> {
    if ids.is_empty() {
        let default = vpc.groups.values().find(|group| group.name == DEFAULT);
        return Ok(default.map(|group| group.id.clone()).into_iter().collect());
    }
    if let Some(id) = ids.iter().find(|id| !vpc.groups.contains_key(*id)) {
        return Err(Kind::Group.unknown(id));
    }
    let mut unique: Vec<String> = Vec::new();
    for id in ids {
        if !unique.contains(id) {
            unique.push(id.clone());
        }
    }
    if unique.len() > vpc.spec.quotas.groups_per_interface {
        let message = "The maximum number of security groups per interface has been reached.";
        return Err(Ec2Error::new("SecurityGroupsPerInterfaceLimitExceeded", message));
    }
    Ok(unique)
}

/// What has no IPv4 address cannot be given any.
fn check_family(request: &CreateInterface) -> Result<(), Ec2Error> {
    let asks = request.primary.is_some() || request.wanted != Wanted::Nothing;
    if request.has_ipv4() || !asks {
        return Ok(());
    }
    let kind = request.kind.as_str();
    Err(Ec2Error::combination(format!(
        "A network interface of type {kind} without IPv4 cannot be created with IPv4 addresses."
    )))
}
