//! What the peer does in EC2: interfaces with its tags and its description, and their addresses.

use super::{Mode, PeerNode, ZONE, device_name};
use crate::command::until;
use vpc_sim::world::status::InterfaceStatus;

/// The addresses of an interface of an m5.4xlarge beside its first.
const ADDRESSES: u32 = 29;

/// Prefixes of each interface: one for pods, and a warm one.
const PREFIXES: u32 = 2;

impl PeerNode<'_> {
    /// Gives the primary interface what pods get, and the peer's tag.
    pub(super) fn fill_primary(&self) {
        let primary = self.interfaces().remove(0);
        let id = &primary.id;
        let instance = self.instance();
        self.world.ec2(&format!(
            "Action=CreateTags&ResourceId.1={id}\
             &Tag.1.Key=node.k8s.amazonaws.com/instance_id&Tag.1.Value={instance}"
        ));
        let wanted = match self.mode {
            Mode::Default => format!("SecondaryPrivateIpAddressCount={ADDRESSES}"),
            Mode::Prefixes => format!("Ipv4PrefixCount={PREFIXES}"),
            Mode::Custom => return,
        };
        self.world
            .ec2(&format!("Action=AssignPrivateIpAddresses&NetworkInterfaceId={id}&{wanted}"));
    }

    /// Creates an interface and attaches it at a device index; returns when its link is there.
    pub(super) fn attach(&self, device: u32) {
        let instance = self.instance();
        let primary = self.interfaces().remove(0);
        let (subnet, group) = match self.mode {
            Mode::Default | Mode::Prefixes => (primary.subnet, primary.groups[0].clone()),
            Mode::Custom => {
                (self.world.subnet_id("pods-a"), self.world.status().groups["pods"].clone())
            }
        };
        let wanted = match self.mode {
            Mode::Default | Mode::Custom => format!("SecondaryPrivateIpAddressCount={ADDRESSES}"),
            Mode::Prefixes => format!("Ipv4PrefixCount={PREFIXES}"),
        };
        let tag = "TagSpecification.1.Tag";
        let made = self.world.ec2(&format!(
            "Action=CreateNetworkInterface&SubnetId={subnet}&SecurityGroupId.1={group}&{wanted}\
             &Description=aws-K8S-{instance}&TagSpecification.1.ResourceType=network-interface\
             &{tag}.1.Key=node.k8s.amazonaws.com/createdAt&{tag}.1.Value=2026-11-28T19%3A21%3A50Z\
             &{tag}.2.Key=node.k8s.amazonaws.com/instance_id&{tag}.2.Value={instance}"
        ));
        let id = element(&made, "networkInterfaceId");
        let attached = self.world.ec2(&format!(
            "Action=AttachNetworkInterface&NetworkInterfaceId={id}&InstanceId={instance}\
             &DeviceIndex={device}"
        ));
        let attachment = element(&attached, "attachmentId");
        self.world.ec2(&format!(
            "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={id}\
             &Attachment.AttachmentId={attachment}&Attachment.DeleteOnTermination=true"
        ));
        let name = device_name(device);
        until(&format!("{name} is attached in {ZONE}"), || {
            let interfaces = self.interfaces();
            let is_ready = |it: &InterfaceStatus| it.id == id && it.state == "attached";
            let links = self.links();
            if interfaces.iter().any(is_ready) && links.contains(&name) {
                Ok(())
            } else {
                Err(format!("{interfaces:?} {links:?}"))
            }
        });
    }

    fn instance(&self) -> String {
        self.world.node(&self.node).instance_id
    }
}

/// The text of the first element of this name.
fn element(text: &str, name: &str) -> String {
    let (_, rest) =
        text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}
