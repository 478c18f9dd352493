//! Attaching and detaching interfaces, which takes time.

use super::{
    action::{Action, actions},
    assign::{Wanted, check_limit},
    error::Ec2Error,
    fault::Attaching,
    ids::{AttachmentId, EniId, Kind},
    instance::{Instance, Life},
    interface::{Attachment, AttachmentState},
    state::{Due, Step, Vpc},
    time::Time,
};

actions! {
    /// Put an interface into an instance.
    ATTACH_NETWORK_INTERFACE = Action::new("AttachNetworkInterface", 50, 5);
    /// Take an interface out of an instance.
    DETACH_NETWORK_INTERFACE = Action::new("DetachNetworkInterface", 50, 5);
}

/// Device indexes begin at 0 and stay below this; no card takes more than 24 interfaces.
pub const DEVICE_INDEXES: u32 = 32;

/// What to attach where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The interface.
    pub interface_id: String,
    /// The instance.
    pub instance_id: String,
    /// The place on the network card.
    pub device_index: u32,
    /// The network card; the type's default one when absent.
    pub card_index: Option<u32>,
}

/// How to detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// As the machine lets go.
    Orderly,
    /// At once.
    Forced,
}

impl Vpc {
    /// `AttachNetworkInterface`. The device appears later.
    ///
    /// # Errors
    /// As EC2.
    pub fn attach_network_interface(
        &mut self,
        now: Time,
        request: &Attach,
    ) -> Result<&Attachment, Ec2Error> {
        let (eni, attachment) = new_attachment(self, now, request)?;
        let node = self.instances[&attachment.instance_id].node.clone();
        if let Attaching::Later(later) = self.faults.on_attach(now, &node) {
            let id = &attachment.id;
            let attached = now + self.latency().attach;
            let present = attached + self.latency().device + later;
            self.later(attached, Due::Attachment(Step::Attached, eni.clone(), id.clone()));
            self.later(present, Due::Attachment(Step::DevicePresent, eni.clone(), id.clone()));
        }
        Ok(put(self, now, &eni, attachment))
    }

    /// Attaches an interface at once, as a launch does: the machine boots with its device, and the
    /// interface goes with the instance.
    pub(super) fn attach_at_launch(
        &mut self,
        now: Time,
        request: &Attach,
    ) -> Result<&Attachment, Ec2Error> {
        let (eni, attachment) = new_attachment(self, now, request)?;
        let attachment = Attachment {
            state: AttachmentState::Attached,
            delete_on_termination: true,
            device_present: true,
            ..attachment
        };
        Ok(put(self, now, &eni, attachment))
    }

    /// The lowest place on a card of an instance that has no interface.
    #[must_use]
    pub fn free_device_index(&self, instance: &Instance, card_index: u32) -> u32 {
        let taken = on_card(self, instance, card_index);
        (0..DEVICE_INDEXES).find(|index| !taken.contains(index)).unwrap_or(DEVICE_INDEXES)
    }

    /// `DetachNetworkInterface`. The interface is available later.
    ///
    /// # Errors
    /// As EC2: not the primary interface.
    pub fn detach_network_interface(
        &mut self,
        now: Time,
        attachment_id: &str,
        how: Detach,
    ) -> Result<(), Ec2Error> {
        let eni = self.index.attachments.get(attachment_id);
        let found = eni.and_then(|eni| Some((eni, self.interfaces.get(eni)?.attachment.as_ref()?)));
        let Some((eni, attachment)) = found else {
            return Err(Kind::Attachment.unknown(attachment_id));
        };
        if attachment.is_primary() {
            let message = "The network interface at device index 0 cannot be detached.";
            return Err(Ec2Error::new("OperationNotPermitted", message));
        }
        if attachment.state == AttachmentState::Detaching && how == Detach::Orderly {
            return Err(being_detached(&attachment.id));
        }
        let (eni, id) = (eni.clone(), attachment.id.clone());
        if let Some(attachment) = &mut self.interface_mut(&eni).attachment {
            attachment.state = AttachmentState::Detaching;
        }
        let detached = match how {
            Detach::Orderly => now + self.latency().detach,
            Detach::Forced => now,
        };
        let gone = detached.min(now + self.latency().device);
        self.later(gone, Due::Attachment(Step::DeviceGone, eni.clone(), id.clone()));
        self.later(detached, Due::Attachment(Step::Detached, eni.clone(), id));
        self.interface_changed(now, &eni);
        Ok(())
    }

    /// Carries out a transition of an attachment, unless the attachment is another one by now.
    pub(super) fn attachment_moves(&mut self, at: Time, eni: &EniId, id: &AttachmentId, to: Step) {
        let Some(interface) = self.interfaces.get_mut(eni) else { return };
        let Some(attachment) = interface.attachment.as_mut().filter(|now| now.id == *id) else {
            return;
        };
        let detaching = attachment.state == AttachmentState::Detaching;
        match to {
            Step::Attached if !detaching => attachment.state = AttachmentState::Attached,
            Step::DevicePresent if !detaching => {
                // A machine that does not run gets it when it starts.
                let instance = self.instances.get(&attachment.instance_id);
                attachment.device_present = instance.is_some_and(|it| it.life == Life::Running);
            }
            Step::Attached | Step::DevicePresent => {}
            Step::DeviceGone => attachment.device_present = false,
            Step::Detached => {
                let instance_id = attachment.instance_id.clone();
                interface.attachment = None;
                self.index.attachments.remove(id);
                if let Some(instance) = self.instances.get_mut(&instance_id) {
                    instance.interfaces.remove(eni);
                }
                self.show(at, &instance_id);
            }
        }
        self.interface_changed(at, eni);
    }
}

/// An attachment that EC2 takes.
fn new_attachment(
    vpc: &mut Vpc,
    now: Time,
    request: &Attach,
) -> Result<(EniId, Attachment), Ec2Error> {
    let interface = vpc.interface(&request.interface_id)?;
    let instance = vpc.instance(&request.instance_id)?;
    let card_index = request.card_index.unwrap_or(instance.instance_type.default_card);
    if instance.life == Life::Terminated {
        let message = format!("The instance '{}' is not in a valid state for this.", instance.id);
        return Err(Ec2Error::new("IncorrectInstanceState", message));
    }
    if interface.attachment.is_some() {
        let message = format!("Interface: [{}] in use.", interface.id);
        return Err(Ec2Error::new("InvalidNetworkInterface.InUse", message));
    }
    if vpc.subnet(&interface.subnet_id)?.zone != instance.zone {
        let message = "You may not attach a network interface to an instance if they are not \
                       in the same availability zone";
        let code = vpc.spec.undocumented.attach_across_zones.clone().into();
        return Err(Ec2Error { code, message: message.into(), status: 400 });
    }
    check_limit(interface, &Wanted::Nothing, instance.instance_type)?;
    check_place(vpc, instance, card_index, request.device_index)?;

    let (eni, instance_id) = (interface.id.clone(), instance.id.clone());
    let attachment = Attachment {
        id: AttachmentId::random(&mut vpc.rng),
        instance_id,
        card_index,
        device_index: request.device_index,
        state: AttachmentState::Attaching,
        since: now,
        // The call has no such parameter: whoever wants it modifies the attachment afterwards.
        delete_on_termination: false,
        device_present: false,
    };
    Ok((eni, attachment))
}

fn put<'a>(vpc: &'a mut Vpc, now: Time, eni: &EniId, attachment: Attachment) -> &'a Attachment {
    if let Some(instance) = vpc.instances.get_mut(&attachment.instance_id) {
        instance.interfaces.insert(eni.clone());
    }
    vpc.index.attachments.insert(attachment.id.clone(), eni.clone());
    vpc.interface_mut(eni).attachment = Some(attachment);
    vpc.interface_changed(now, eni);
    let attachment = vpc.interfaces[eni].attachment.as_ref();
    attachment.expect("the lines above attached it")
}

fn check_place(
    vpc: &Vpc,
    instance: &Instance,
    card_index: u32,
    device_index: u32,
) -> Result<(), Ec2Error> {
    let instance_type = instance.instance_type;
    let Some(limit) = instance_type.cards.get(card_index as usize) else {
        let message =
            format!("Network card index {card_index} exceeds the limit for {}", instance_type.name);
        return Err(Ec2Error::invalid(message));
    };
    if device_index >= DEVICE_INDEXES {
        let message = format!("Device index {device_index} is out of range.");
        return Err(Ec2Error::invalid(message));
    }
    let on_card = on_card(vpc, instance, card_index);
    if on_card.contains(&device_index) {
        return Err(Ec2Error::invalid(format!(
            "Instance '{}' already has an interface attached at device index '{device_index}'.",
            instance.id
        )));
    }
    if on_card.len() >= *limit as usize {
        return Err(Ec2Error::new(
            "AttachmentLimitExceeded",
            format!(
                "Interface count {} exceeds the limit for {}",
                on_card.len() + 1,
                instance_type.name
            ),
        ));
    }
    Ok(())
}

/// The places on a card that have an interface.
fn on_card(vpc: &Vpc, instance: &Instance, card_index: u32) -> Vec<u32> {
    let interfaces = instance.interfaces.iter().filter_map(|eni| vpc.interfaces.get(eni));
    let attachments = interfaces.filter_map(|interface| interface.attachment.as_ref());
    let on_card = attachments.filter(|attachment| attachment.card_index == card_index);
    on_card.map(|attachment| attachment.device_index).collect()
}

fn being_detached(id: &AttachmentId) -> Ec2Error {
    let message = format!("The network interface attachment '{id}' is being detached.");
    Ec2Error::new("IncorrectState", message)
}
