//! Instances: launched with their primary interface, terminated as EC2 does it.

use super::{
    Due, Vpc,
    create::CreateInterface,
    error::Ec2Error,
    ids::{AttachmentId, EniId, InstanceId, Kind},
    interface::{Attachment, AttachmentState},
    metadata::{Ghost, History, View},
    spec::Launch,
    time::Time,
};
use instances::InstanceType;
use rand::Rng;
use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

/// How long a terminated instance is still described; about an hour on AWS.
const TERMINATED_SHOWN: Duration = Duration::from_secs(3600);

/// Networks for documentation (RFC 5737), which stand for the internet's addresses of instances.
const PUBLIC_BLOCKS: [[u8; 3]; 2] = [[203, 0, 113], [198, 51, 100]];

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Name of the node that it is.
    pub node: String,
    /// Its type, with its instances.
    pub instance_type: &'static InstanceType,
    /// Subnet of its primary interface.
    pub subnet_id: String,
    /// Its availability zone.
    pub zone: String,
    /// Primary address of its primary interface.
    pub private_ip: Ipv4Addr,
    /// When it was launched.
    pub launched: Time,
    /// It runs until it is terminated.
    pub running: bool,
    /// Id of the launch.
    pub reservation_id: String,
    /// Role whose credentials its metadata service hands out.
    pub role: Option<Role>,
    /// Its interfaces, attached or on their way.
    pub interfaces: BTreeSet<EniId>,
    pub(super) history: History,
    pub(super) ghosts: Vec<Ghost>,
}

/// A role and its credentials on one instance. They open EC2, and tell its callers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Access key id, which names the instance in every call.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token.
    pub token: String,
}

impl Vpc {
    /// Launches an instance. It runs at once, with its primary interface attached and present.
    ///
    /// # Errors
    /// As EC2's `RunInstances`, and when another instance is already the node of that name.
    pub fn run_instance(&mut self, now: Time, launch: &Launch) -> Result<InstanceId, Ec2Error> {
        let Some(instance_type) = launch.limits() else {
            let message = format!("Invalid value '{}' for InstanceType.", launch.instance_type);
            return Err(Ec2Error::invalid(message));
        };
        if self.instance_by_node(&launch.node).is_some() {
            let message = format!("Node '{}' is already an instance.", launch.node);
            return Err(Ec2Error::invalid(message));
        }
        let subnet = self.subnet(&launch.subnet_id)?;
        let (zone, public_ips) = (subnet.zone.clone(), subnet.public_ips);
        let public = if public_ips { Some(self.pick_public()?) } else { None };
        let eni = self.create_network_interface(now, &primary(launch))?.id.clone();

        let id = InstanceId::random(&mut self.rng);
        let attachment = Attachment {
            id: AttachmentId::random(&mut self.rng),
            instance_id: id.clone(),
            card_index: 0,
            device_index: 0,
            state: AttachmentState::Attached,
            since: now,
            delete_on_termination: true,
            device_present: true,
        };
        self.index.attachments.insert(attachment.id.clone(), eni.clone());
        let interface = self.interface_mut(&eni);
        interface.attachment = Some(attachment);
        interface.public = public;
        let (private_ip, view) = (interface.primary, View { interfaces: vec![interface.clone()] });
        let instance = Instance {
            id: id.clone(),
            node: launch.node.clone(),
            instance_type,
            subnet_id: launch.subnet_id.clone(),
            zone,
            private_ip,
            launched: now,
            running: true,
            reservation_id: Kind::Reservation.random(&mut self.rng),
            role: launch.role.clone().map(|name| self.credentials(name)),
            interfaces: BTreeSet::from([eni.clone()]),
            ghosts: Vec::new(),
            history: History::new(now, Arc::new(view)),
        };
        self.tag(id.as_str(), "Name", &launch.node);
        self.index.nodes.insert(launch.node.clone(), id.clone());
        self.instances.insert(id.clone(), instance);
        self.remember(now, &eni);
        Ok(id)
    }

    /// Terminates an instance at once: interfaces that go with it are deleted, others become
    /// available.
    ///
    /// # Errors
    /// When there is no such instance. To terminate one twice is no error, as on EC2.
    pub fn terminate_instance(&mut self, now: Time, id: &InstanceId) -> Result<(), Ec2Error> {
        let Some(instance) = self.instances.get_mut(id) else {
            return Err(Kind::Instance.unknown(id.as_str()));
        };
        if !std::mem::replace(&mut instance.running, false) {
            return Ok(());
        }
        let (node, interfaces) = (&instance.node, std::mem::take(&mut instance.interfaces));
        self.index.nodes.remove(node);
        for eni in interfaces {
            let interface = self.interface_mut(&eni);
            interface.public = None;
            let Some(attachment) = interface.attachment.take() else { continue };
            self.index.attachments.remove(&attachment.id);
            if attachment.delete_on_termination {
                self.remove_interface(now, &eni);
            } else {
                self.remember(now, &eni);
            }
        }
        self.changed();
        self.later(now + TERMINATED_SHOWN, Due::Forgotten(id.clone()));
        Ok(())
    }

    fn pick_public(&self) -> Result<Ipv4Addr, Ec2Error> {
        let taken: BTreeSet<_> = self.interfaces.values().filter_map(|eni| eni.public).collect();
        PUBLIC_BLOCKS
            .iter()
            .flat_map(|[a, b, c]| (1..255).map(|host| Ipv4Addr::new(*a, *b, *c, host)))
            .find(|address| !taken.contains(address))
            .ok_or_else(|| {
                let message = "Insufficient capacity to satisfy your public address request.";
                Ec2Error::new("InsufficientAddressCapacity", message)
            })
    }

    fn credentials(&mut self, name: String) -> Role {
        // The alphabets and lengths of STS's: "ASIA" marks temporary credentials.
        let mut text = |alphabet: &[u8], length: usize| -> String {
            let pick = |_| char::from(alphabet[self.rng.random_range(0..alphabet.len())]);
            (0..length).map(pick).collect()
        };
        let base32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        Role {
            name,
            access_key_id: format!("ASIA{}", text(base32, 16)),
            secret_access_key: text(base64, 40),
            token: text(base64, 356),
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

    /// Group ids that exist and are not too many; the default group for none.
    pub(super) fn resolve_groups(&self, ids: &[String]) -> Result<Vec<String>, Ec2Error> {
        if ids.is_empty() {
            let default = self.groups.values().find(|group| group.name == super::groups::DEFAULT);
            return Ok(default.map(|group| group.id.clone()).into_iter().collect());
        }
        if let Some(id) = ids.iter().find(|id| !self.groups.contains_key(*id)) {
            return Err(Kind::Group.unknown(id));
        }
        let mut unique: Vec<String> = Vec::new();
        for id in ids {
            if !unique.contains(id) {
                unique.push(id.clone());
            }
        }
        if unique.len() > self.spec.quotas.groups_per_interface {
            let message = "The maximum number of security groups per interface has been reached.";
            return Err(Ec2Error::new("SecurityGroupsPerInterfaceLimitExceeded", message));
        }
        Ok(unique)
    }
}

fn primary(launch: &Launch) -> CreateInterface {
    CreateInterface {
        subnet_id: launch.subnet_id.clone(),
        groups: launch.groups.clone(),
        ..CreateInterface::default()
    }
}
