//! Interfaces attached to instances, and detached.

use super::{
    call::{Asked, Entry, interface_id},
    params::Params,
    write::done,
    xml::Xml,
};
use vpc::{
    Action, Ec2Error,
    attach::{Attach, Detach},
};

pub(super) const CALLS: &[Entry] =
    &[(Action::ATTACH_NETWORK_INTERFACE, attach), (Action::DETACH_NETWORK_INTERFACE, detach)];

fn attach(p: &mut Params) -> Result<Asked, Ec2Error> {
    let request = Attach {
        interface_id: interface_id(p)?,
        instance_id: p.required("InstanceId")?,
        device_index: p.required_parsed("DeviceIndex")?,
        card_index: p.parsed("NetworkCardIndex")?,
    };
    let about = [request.interface_id.clone(), request.instance_id.clone()];
    let asked = Asked::to(move |scene| {
        let attachment = scene.vpc.attach_network_interface(scene.now, &request)?;
        let mut xml = Xml::default();
        xml.text("attachmentId", &attachment.id);
        xml.text("networkCardIndex", attachment.card_index);
        Ok(xml)
    });
    Ok(asked.about(about))
}

fn detach(p: &mut Params) -> Result<Asked, Ec2Error> {
    let id = p.required("AttachmentId")?;
    let how = if p.flag("Force")? { Detach::Forced } else { Detach::Orderly };
    let about = [id.clone()];
    let asked =
        Asked::to(move |scene| done(scene.vpc.detach_network_interface(scene.now, &id, how)));
    Ok(asked.about(about))
}
