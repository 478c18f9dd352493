//! Instances launched with their primary interface, and terminated as EC2 does it.

use super::{
    attach::Attach,
    create::CreateInterface,
    error::Ec2Error,
    ids::{AttachmentId, EniId, InstanceId, Kind},
    instance::{Instance, Life, Role},
    interface::{Attachment, AttachmentState},
    metadata::{History, View},
    spec::Launch,
    state::{Due, Vpc},
    time::Time,
    views::show_at_once,
};
use rand::Rng;
use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

/// How long a terminated instance is still described; about an hour on AWS.
const TERMINATED_SHOWN: Duration = Duration::from_secs(3600);

/// Networks for documentation (RFC 5737), which stand for the internet's addresses of instances.
const PUBLIC_BLOCKS: [[u8; 3]; 2] = [[203, 0, 113], [198, 51, 100]];

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
        let public = if public_ips { Some(pick_public(self)?) } else { None };
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
        let view = View { interfaces: vec![interface.clone()] };
        let private_ip = interface.primary.expect("a primary interface is made with IPv4");
        let instance = Instance {
            id: id.clone(),
            node: launch.node.clone(),
            instance_type,
            subnet_id: launch.subnet_id.clone(),
            zone,
            private_ip,
            launched: now,
            life: Life::Running,
            reservation_id: Kind::Reservation.random(&mut self.rng),
            role: launch.role.clone().map(|name| credentials(self, name)),
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

    /// Gives an instance one more interface that it is launched with, as a launch template lists
    /// them: it is there before the machine boots, and its metadata lists it from the first moment.
    /// Which instance, and which interface is made, `attach` need not say.
    ///
    /// # Errors
    /// As EC2's `RunInstances`; nothing is made then.
    pub fn launch_interface(
        &mut self,
        now: Time,
        instance: &InstanceId,
        create: &CreateInterface,
        attach: &Attach,
    ) -> Result<EniId, Ec2Error> {
        let eni = self.create_network_interface(now, create)?.id.clone();
        let attach = Attach {
            interface_id: eni.0.clone(),
            instance_id: instance.0.clone(),
            ..attach.clone()
        };
        if let Err(error) = self.attach_at_launch(now, &attach).map(|_| ()) {
            self.remove_interface(now, &eni);
            return Err(error);
        }
        show_at_once(self, now, instance);
        Ok(eni)
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
        if std::mem::replace(&mut instance.life, Life::Terminated) == Life::Terminated {
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
}

fn credentials(vpc: &mut Vpc, name: String) -> Role {
    // The alphabets and lengths of STS's: "ASIA" marks temporary credentials.
    let mut text = |alphabet: &[u8], length: usize| -> String {
        let pick = |_| char::from(alphabet[vpc.rng.random_range(0..alphabet.len())]);
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

pub(super) fn pick_public(vpc: &Vpc) -> Result<Ipv4Addr, Ec2Error> {
    let taken: BTreeSet<_> = vpc.interfaces.values().filter_map(|eni| eni.public).collect();
    PUBLIC_BLOCKS
        .iter()
        .flat_map(|[a, b, c]| (1..255).map(|host| Ipv4Addr::new(*a, *b, *c, host)))
        .find(|address| !taken.contains(address))
        .ok_or_else(|| {
            let message = "Insufficient capacity to satisfy your public address request.";
            Ec2Error::new("InsufficientAddressCapacity", message)
        })
}

fn primary(launch: &Launch) -> CreateInterface {
    CreateInterface {
        subnet_id: launch.subnet_id.clone(),
        groups: launch.groups.clone(),
        ..CreateInterface::default()
    }
}
