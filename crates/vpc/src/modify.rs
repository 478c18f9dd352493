//! One attribute of an instance, changed: the groups of its interface, or its type.

use super::{
    action::{Action, actions},
    assign::{Wanted, check_limit},
    create::resolve_groups,
    error::Ec2Error,
    ids::{InstanceId, Kind},
    instance::Life,
    state::Vpc,
    time::Time,
};

actions! {
    /// Change one attribute of an instance.
    MODIFY_INSTANCE_ATTRIBUTE = Action::new("ModifyInstanceAttribute", 50, 5);
}

/// One attribute of an instance, as `ModifyInstanceAttribute` changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceAttribute {
    /// The whole set of security groups of its only interface.
    Groups(Vec<String>),
    /// Its type, while it is stopped.
    Type(String),
}

impl Vpc {
    /// `ModifyInstanceAttribute`.
    ///
    /// # Errors
    /// As EC2.
    pub fn modify_instance_attribute(
        &mut self,
        now: Time,
        id: &str,
        attribute: &InstanceAttribute,
    ) -> Result<(), Ec2Error> {
        let id = self.instance(id)?.id.clone();
        match attribute {
            InstanceAttribute::Groups(groups) => modify_groups(self, now, &id, groups),
            InstanceAttribute::Type(name) => modify_type(self, &id, name),
        }
    }
}

fn modify_groups(
    vpc: &mut Vpc,
    now: Time,
    id: &InstanceId,
    groups: &[String],
) -> Result<(), Ec2Error> {
    let interfaces = &vpc.instance(id.as_str())?.interfaces;
    let (1, Some(eni)) = (interfaces.len(), interfaces.first().cloned()) else {
        let message = format!(
            "There are multiple interfaces attached to instance '{id}'. Please specify an \
             interface ID for the operation instead."
        );
        return Err(Ec2Error::new("InvalidInstanceID", message));
    };
    let groups = resolve_groups(vpc, groups)?;
    vpc.interface_mut(&eni).groups = groups;
    vpc.interface_changed(now, &eni);
    Ok(())
}

// That the interfaces must fit the new type is known, when it is said and how is not: here it is
// said at once.
fn modify_type(vpc: &mut Vpc, id: &InstanceId, name: &str) -> Result<(), Ec2Error> {
    let instance = vpc.instance(id.as_str())?;
    if instance.life != Life::Stopped {
        let message = format!("The instance '{id}' is not in the 'stopped' state.");
        return Err(Ec2Error::new("IncorrectInstanceState", message));
    }
    let Some(kind) = instances::all().get(name) else {
        let message = format!("Invalid value '{name}' for InstanceType.");
        return Err(Ec2Error::invalid(message));
    };
    let interfaces = || instance.interfaces.iter().filter_map(|eni| vpc.interfaces.get(eni));
    for (card, limit) in (0..).zip(&kind.cards) {
        let places = interfaces().filter_map(|eni| eni.attachment.as_ref());
        let count = places.filter(|at| at.card_index == card).count();
        if count > *limit as usize {
            let message = format!("Interface count {count} exceeds the limit for {name}");
            return Err(Ec2Error::new("AttachmentLimitExceeded", message));
        }
    }
    let cards = interfaces().filter_map(|eni| eni.attachment.as_ref()).map(|at| at.card_index);
    if let Some(card) = cards.max().filter(|card| *card as usize >= kind.cards.len()) {
        let message = format!("Network card index {card} exceeds the limit for {name}");
        return Err(Ec2Error::invalid(message));
    }
    interfaces().try_for_each(|eni| check_limit(eni, &Wanted::Nothing, kind))?;
    match vpc.instances.get_mut(id) {
        Some(instance) => instance.instance_type = kind,
        None => return Err(Kind::Instance.unknown(id.as_str())),
    }
    Ok(())
}
