//! Machines that lose power and get it back: reboot, stop and start. Interfaces stay attached.

use super::{
    error::Ec2Error, ids::EniId, instance::Life, interface::AttachmentState, launch::pick_public,
    state::Vpc, time::Time, views::show_at_once,
};

impl Vpc {
    /// The machine of an instance goes down: its devices are gone, and nothing else.
    ///
    /// # Errors
    /// As EC2, when there is no such instance.
    pub fn power_off(&mut self, now: Time, id: &str) -> Result<(), Ec2Error> {
        for eni in interfaces_of(self, id)? {
            if let Some(attachment) = &mut self.interface_mut(&eni).attachment {
                attachment.device_present = false;
            }
            self.interface_changed(now, &eni);
        }
        Ok(())
    }

    /// The machine of an instance boots: it finds the devices of all interfaces that are attached,
    /// and metadata that lag behind nothing.
    ///
    /// # Errors
    /// As EC2, when there is no such instance.
    pub fn power_on(&mut self, now: Time, id: &str) -> Result<(), Ec2Error> {
        for eni in interfaces_of(self, id)? {
            if let Some(attachment) = &mut self.interface_mut(&eni).attachment {
                attachment.device_present = attachment.state == AttachmentState::Attached;
            }
            self.interface_changed(now, &eni);
        }
        let id = self.instance(id)?.id.clone();
        show_at_once(self, now, &id);
        Ok(())
    }

    /// Stops an instance at once. Its public address is lost, everything else of its interfaces
    /// stays. To stop one twice is no error, as on EC2.
    ///
    /// # Errors
    /// As EC2.
    pub fn stop_instance(&mut self, now: Time, id: &str) -> Result<(), Ec2Error> {
        match self.instance(id)?.life {
            Life::Stopped => return Ok(()),
            Life::Terminated => return Err(wrong_state(id, "stopped")),
            Life::Running => {}
        }
        set_life(self, id, Life::Stopped);
        for eni in interfaces_of(self, id)? {
            self.interface_mut(&eni).public = None;
        }
        self.power_off(now, id)
    }

    /// Starts a stopped instance. To start one that runs is no error, as on EC2.
    ///
    /// # Errors
    /// As EC2; also when no public address is left for it.
    pub fn start_instance(&mut self, now: Time, id: &str) -> Result<(), Ec2Error> {
        let instance = self.instance(id)?;
        match instance.life {
            Life::Running => return Ok(()),
            Life::Terminated => return Err(wrong_state(id, "started")),
            Life::Stopped => {}
        }
        let public_ips = self.subnet(&instance.subnet_id)?.public_ips;
        let public = if public_ips { Some(pick_public(self)?) } else { None };
        set_life(self, id, Life::Running);
        for eni in interfaces_of(self, id)? {
            let interface = self.interface_mut(&eni);
            if interface.attachment.as_ref().is_some_and(super::Attachment::is_primary) {
                interface.public = public;
            }
        }
        if let Some(instance) = self.instances.get_mut(id) {
            // EC2's launch time is that of the latest start.
            instance.launched = now;
        }
        self.power_on(now, id)
    }
}

fn set_life(vpc: &mut Vpc, id: &str, life: Life) {
    if let Some(instance) = vpc.instances.get_mut(id) {
        instance.life = life;
    }
}

fn interfaces_of(vpc: &Vpc, id: &str) -> Result<Vec<EniId>, Ec2Error> {
    Ok(vpc.instance(id)?.interfaces.iter().cloned().collect())
}

fn wrong_state(id: &str, what: &str) -> Ec2Error {
    let message = format!("The instance '{id}' is not in a state from which it can be {what}.");
    Ec2Error::new("IncorrectInstanceState", message)
}
