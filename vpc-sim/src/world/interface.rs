//! Interfaces that a user attaches to nodes, at launch or later: whose they are, nobody has told.

use super::{World, status::InterfaceStatus};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};
use vpc::{
    AttachmentState, EniId, Instance, InterfaceKind, Time, Vpc,
    assign::Wanted,
    attach::{Attach, Detach},
    create::{CreateInterface, Family},
};

/// How long an attachment or its end may take: AWS' slowest, in a world with AWS' latencies.
const MOVE_LIMIT: Duration = Duration::from_secs(60);

/// How often an interface is looked at that is on its way.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// An interface of a user. What is not said is as for the node's primary interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InterfaceRequest {
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: InterfaceKind,
    /// It has an IPv6 address and none of IPv4, as in an IPv6-only subnet.
    pub ipv6_only: bool,
    /// Name or id of the subnet.
    pub subnet: Option<String>,
    /// Names or ids of the security groups.
    pub groups: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Words for people.
    pub description: String,
    /// How many secondary addresses.
    pub secondary: u32,
    /// How many prefixes; not beside secondary addresses.
    pub prefixes: u32,
    /// Network card; the type's default one when absent.
    pub card: Option<u32>,
    /// Place on the card; the first free one when absent.
    pub device_index: Option<u32>,
}

impl InterfaceRequest {
    /// What to create and where to attach it.
    fn resolve(&self, vpc: &Vpc, instance: &Instance) -> Result<(CreateInterface, Attach)> {
        let subnet_id = match &self.subnet {
            Some(wanted) => subnet_id(vpc, wanted)?,
            None => instance.subnet_id.clone(),
        };
        let groups = match self.groups.is_empty() {
            true => primary(vpc, instance)?.groups.clone(),
            false => group_ids(vpc, &self.groups)?,
        };
        let wanted = match (self.secondary, self.prefixes) {
            (0, 0) => Wanted::Nothing,
            (count, 0) => Wanted::Count(count),
            (0, count) => Wanted::PrefixCount(count),
            (_, _) => bail!("an interface is made with secondary addresses or with prefixes"),
        };
        let family = if self.ipv6_only { Family::Ipv6Only } else { Family::Ipv4 };
        let card = self.card.unwrap_or(instance.instance_type.default_card);
        let free = || vpc.free_device_index(instance, card);
        let create = CreateInterface {
            subnet_id,
            kind: self.kind,
            family,
            description: self.description.clone(),
            groups,
            primary: None,
            wanted,
            tags: self.tags.clone(),
            client_token: None,
        };
        let attach = Attach {
            interface_id: String::new(),
            instance_id: instance.id.0.clone(),
            device_index: self.device_index.unwrap_or_else(free),
            card_index: Some(card),
        };
        Ok((create, attach))
    }

    /// Launches it with an instance.
    pub(super) fn launch(&self, vpc: &mut Vpc, now: Time, instance: &Instance) -> Result<()> {
        let (create, attach) = self.resolve(vpc, instance)?;
        vpc.launch_interface(now, &instance.id, &create, &attach)?;
        Ok(())
    }

    fn attach(&self, vpc: &mut Vpc, now: Time, instance: &Instance) -> Result<EniId> {
        let (create, attach) = self.resolve(vpc, instance)?;
        let id = vpc.create_network_interface(now, &create)?.id.clone();
        let attach = Attach { interface_id: id.0.clone(), ..attach };
        if let Err(error) = vpc.attach_network_interface(now, &attach).map(|_| ()) {
            vpc.delete_network_interface(now, id.as_str())?;
            return Err(error.into());
        }
        Ok(id)
    }
}

impl World {
    /// Makes an interface and attaches it to a node; when this returns, it is attached.
    ///
    /// # Errors
    /// There is no such node, the request names what does not exist, or EC2 refuses; nothing is
    /// made then.
    pub async fn attach_interface(
        &self,
        node: &str,
        request: &InterfaceRequest,
    ) -> Result<InterfaceStatus> {
        let instance_id = self.node(node)?.instance_id.clone();
        let id = self
            .cloud
            .with(|vpc, now| {
                let instance = vpc.instance(instance_id.as_str())?.clone();
                request.attach(vpc, now, &instance)
            })
            .with_context(|| format!("attach an interface to {node}"))?;
        until(self, |vpc| {
            let attachment = vpc.interface(id.as_str()).ok()?.attachment.as_ref()?;
            let is_there =
                attachment.state == AttachmentState::Attached && attachment.device_present;
            is_there.then_some(())
        })
        .await
        .with_context(|| format!("attach {id} to {node}"))?;
        self.wires.settled(&self.cloud).await?;
        let status = self.cloud.with(|vpc, _| {
            let interface = vpc.interface(id.as_str())?;
            Ok::<_, vpc::Ec2Error>(InterfaceStatus::of(vpc, interface))
        })?;
        status.with_context(|| format!("{id} was detached from {node} at once"))
    }

    /// Detaches an interface and deletes it; when this returns, it is gone.
    ///
    /// # Errors
    /// There is no such interface, or EC2 refuses.
    pub async fn remove_interface(&self, id: &str) -> Result<()> {
        self.cloud.with(|vpc, now| {
            let attachment = vpc.interface(id)?.attachment.clone();
            match attachment {
                Some(attachment) if attachment.state != AttachmentState::Detaching => {
                    vpc.detach_network_interface(now, attachment.id.as_str(), Detach::Orderly)
                }
                Some(_) | None => Ok(()),
            }
        })?;
        until(self, |vpc| match vpc.interface(id) {
            Ok(interface) => interface.attachment.is_none().then_some(()),
            Err(_) => Some(()),
        })
        .await
        .with_context(|| format!("detach {id}"))?;
        self.cloud.with(|vpc, now| vpc.delete_network_interface(now, id))?;
        self.wires.settled(&self.cloud).await
    }
}

/// Waits until the VPC shows something.
async fn until<T>(world: &World, look: impl Fn(&Vpc) -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + MOVE_LIMIT;
    loop {
        if let Some(found) = world.cloud.with(|vpc, _| look(vpc)) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("not done within {MOVE_LIMIT:?}; see `vpc-sim fault list`");
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The primary interface of an instance.
pub(super) fn primary<'a>(vpc: &'a Vpc, instance: &Instance) -> Result<&'a vpc::Interface> {
    let mut interfaces = instance.interfaces.iter().filter_map(|id| vpc.interfaces().get(id));
    let found =
        interfaces.find(|it| it.attachment.as_ref().is_some_and(vpc::Attachment::is_primary));
    found.with_context(|| format!("{} has no primary interface: it does not run", instance.id))
}

/// The subnet of a name or an id.
fn subnet_id(vpc: &Vpc, wanted: &str) -> Result<String> {
    let found = vpc.subnets().values().find(|it| it.name == wanted || it.id == wanted);
    let names: Vec<_> = vpc.subnets().values().map(|it| it.name.as_str()).collect();
    let found =
        found.with_context(|| format!("no subnet {wanted}: there are {}", names.join(", ")))?;
    Ok(found.id.clone())
}

/// The security groups of these names or ids.
pub(super) fn group_ids(vpc: &Vpc, wanted: &[String]) -> Result<Vec<String>> {
    let id = |wanted: &String| {
        let found = vpc.groups().values().find(|it| it.name == *wanted || it.id == *wanted);
        let names: Vec<_> = vpc.groups().values().map(|it| it.name.as_str()).collect();
        found
            .map(|it| it.id.clone())
            .with_context(|| format!("no security group {wanted}: there are {}", names.join(", ")))
    };
    wanted.iter().map(id).collect()
}
