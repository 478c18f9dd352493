//! One action of a plan → calls to EC2 and the kernel. No decisions.

use crate::{
    ec2::{Described, Ec2, NewEni, Refused},
    imds::Imds,
    journal::{Intent, Interface},
    node::{Attached, Node},
};
use anyhow::{Context, Result, bail, ensure};
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use net::Mac;
use pool::{Action, EniId, Source};
use sha1::{Digest, Sha1};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tracing::{info, warn};

/// How long a device may take to appear before that is worth a warning: the longest wait that was
/// seen on healthy hosts (`facts/ec2-facts.md` §0.7).
const DEVICE_WAIT: Duration = Duration::from_secs(150);

/// How long a detached device may take to vanish; EC2 refuses to delete the interface before.
const VANISH_WAIT: Duration = Duration::from_secs(30);

/// How often to look whether it has.
const VANISH_POLL: Duration = Duration::from_millis(200);

/// Tries to delete an interface that EC2 still calls in use, a second apart: detaching takes three
/// to six seconds, rarely thirty (`facts/ec2-facts.md` §1.6).
const DELETE_TRIES: u32 = 30;

/// The pause between them.
const DELETE_PAUSE: Duration = Duration::from_secs(1);

/// Says for which instance an interface was made (`facts/peer-ipamd.md` §3.12).
const INSTANCE_TAG: &str = "node.k8s.amazonaws.com/instance_id";

/// Says, with the value `true`, that an interface is not to be touched.
const NO_MANAGE_TAG: &str = "node.k8s.amazonaws.com/no_manage";

/// What EC2 says of an interface that is already gone.
const GONE: &str = "InvalidNetworkInterfaceID.NotFound";

/// The daemon's hands.
#[derive(Clone, Debug)]
pub(crate) struct CarryOut {
    /// This node.
    pub node: Arc<Node>,
    /// EC2.
    pub ec2: Ec2,
    /// The instance metadata service.
    pub imds: Imds,
}

impl CarryOut {
    /// Carries out one action.
    ///
    /// # Errors
    /// What EC2 or the kernel answered; the caller pauses and plans anew.
    pub(crate) async fn carry_out(&self, action: &Action) -> Result<()> {
        match action {
            Action::AttachEni { device_index, subnet, groups, addresses } => {
                let intent = self.intent(*device_index, subnet, groups, *addresses)?;
                self.attach(&intent).await
            }
            Action::AssignAddresses { eni, count } => self.assign(eni, *count).await,
            Action::ReleaseEni { eni } => self.release(eni).await,
        }
    }

    /// Finishes an interface that was being made when the last daemon ended. If nobody wants it any
    /// more, the plan gives it back.
    ///
    /// # Errors
    /// What EC2 answered; the record stays while the answer is not final.
    pub(crate) async fn resume(&self) -> Result<()> {
        let intent = self.node.state().journal.book().intent.clone();
        match intent {
            Some(intent) => self.attach(&intent).await,
            None => Ok(()),
        }
    }

    /// Where the daemon tries to get addresses, to put before what EC2 answered.
    pub(crate) fn context(&self) -> String {
        match self.node.state().pool.source() {
            Source::Node { subnet, .. } => format!("subnet {subnet} of the node: "),
            Source::EniConfig { name, subnet, .. } => {
                format!("ENIConfig {name}, subnet {subnet}: ")
            }
            Source::Missing { .. } => String::new(),
        }
    }

    /// Sets up every interface whose device has appeared. Whether some have not yet.
    pub(crate) async fn make_ready(&self) -> bool {
        let coming: Vec<(EniId, Attached)> = {
            let state = self.node.state();
            let coming = state
                .attached
                .iter()
                .filter(|(_, eni)| eni.is.device_index != 0 && eni.kernel.is_none());
            coming.map(|(id, eni)| (id.clone(), eni.clone())).collect()
        };
        let mut missing = false;
        for (id, eni) in coming {
            match self.set_up(&eni).await {
                Ok(Some(kernel)) => {
                    info!(eni = %id, link = kernel.link, table = kernel.table, "interface is ready");
                    let subnet_cidr = Some(kernel.subnet);
                    self.node
                        .keep_interface(id, Attached { kernel: Some(kernel), subnet_cidr, ..eni });
                }
                Ok(None) => {
                    missing = true;
                    self.complain_once(id, eni);
                }
                Err(error) => {
                    missing = true;
                    warn!(eni = %id, error = format!("{error:#}"), "set up an interface");
                }
            }
        }
        missing
    }

    /// Sets up an interface in the kernel; `None` while its device or metadata is not there.
    async fn set_up(&self, eni: &Attached) -> Result<Option<net::eni::Eni>> {
        let Some(link) = self.node.kernel().link_by_mac(eni.is.mac)? else { return Ok(None) };
        let subnet = match eni.subnet_cidr {
            Some(subnet) => subnet,
            None => match self.imds.subnet_cidr(eni.is.mac).await {
                Ok(subnet) => subnet,
                Err(_not_shown_yet) => return Ok(None),
            },
        };
        let kernel = net::eni::Eni {
            link: link.index,
            primary: eni.is.primary,
            subnet,
            table: net::eni::table(eni.is.device_index),
            mtu: self.node.settings.eni_mtu,
        };
        self.node.kernel().apply(&kernel.ops())?;
        Ok(Some(kernel))
    }

    fn complain_once(&self, id: EniId, eni: Attached) {
        let waited_s = eni.since.elapsed().as_secs();
        if waited_s > DEVICE_WAIT.as_secs() {
            warn!(eni = %id, mac = %eni.is.mac, waited_s, "no device or no metadata of an attached interface: look at `ip link` and dmesg");
            self.node.keep_interface(id, Attached { since: Instant::now(), ..eni });
        }
    }

    /// What is about to be made, on record first. After a crash it is the one on record: then EC2
    /// answers with what the first call made, and nothing is left over.
    fn intent(
        &self,
        device_index: u32,
        subnet: &str,
        groups: &[String],
        addresses: usize,
    ) -> Result<Intent> {
        let mut state = self.node.state();
        if let Some(intent) = state.journal.book().intent.clone() {
            return Ok(intent);
        }
        let created_at = DateTime::from(SystemTime::now()).fmt(DateTimeFormat::DateTime)?;
        let seed = format!("{} {created_at} {device_index}", self.node.identity.instance);
        let token = Sha1::digest(seed).iter().map(|byte| format!("{byte:02x}")).collect();
        let (subnet, groups) = (subnet.to_owned(), groups.to_vec());
        let intent = Intent { token, created_at, device_index, subnet, groups, addresses };
        state.journal.intent(Some(intent.clone()))?;
        Ok(intent)
    }

    async fn attach(&self, intent: &Intent) -> Result<()> {
        let made = self.create_and_attach(intent).await;
        if let Err(refused) = &made {
            self.forget_intent(Some(refused))?;
        }
        if matches!(&made, Err(refused) if is_unknown_attachment(refused)) {
            self.ask_what_is_attached().await?;
        }
        let (eni, attachment) = made?;
        info!(
            eni = eni.id,
            device_index = intent.device_index,
            addresses = eni.secondary.len(),
            "attached"
        );
        let id = EniId(eni.id.clone());
        // When this is a repetition, pods may have addresses of it already.
        if self.node.interface(&id).is_none() {
            let is = interface(&eni, &attachment, intent.device_index);
            let subnet_cidr = self.node.subnet_cidr(&is.subnet);
            self.node.keep_interface(id, Attached::new(is, subnet_cidr));
        }
        // Last, as pods do not wait for it; what it prevents is a leak when the instance ends.
        let marked = self.ec2.delete_on_termination(&eni.id, &attachment).await;
        self.forget_intent(marked.as_ref().err())?;
        marked.context("attached, but")
    }

    /// Takes the intent off the record once there is nothing to repeat. A call whose answer was
    /// lost may have been carried out or not.
    fn forget_intent(&self, refused: Option<&Refused>) -> Result<()> {
        if refused.is_some_and(|refused| refused.code.is_empty()) {
            return Ok(());
        }
        self.node.state().journal.intent(None)
    }

    async fn create_and_attach(&self, intent: &Intent) -> Result<(Described, String), Refused> {
        let new = NewEni {
            subnet: intent.subnet.clone(),
            groups: intent.groups.clone(),
            addresses: intent.addresses,
            tags: self.tags(intent),
            client_token: intent.token.clone(),
        };
        let eni = self.ec2.create(&new).await?;
        // A repeated Create may answer with an interface that was attached before the crash.
        if let Some(attachment) = self.attachment_of_repeated(&eni).await? {
            return Ok((eni, attachment));
        }
        match self.ec2.attach(&eni.id, intent.device_index).await {
            Ok(attachment) => Ok((eni, attachment)),
            Err(refused) => {
                if !refused.code.is_empty() {
                    self.delete(&eni.id).await;
                }
                Err(refused)
            }
        }
    }

    async fn attachment_of_repeated(&self, eni: &Described) -> Result<Option<String>, Refused> {
        let repeated =
            self.node.state().journal.book().intent.is_some() && eni.attachment.is_some();
        if !repeated {
            return Ok(None);
        }
        Ok(self.ec2.one(&eni.id).await?.and_then(|eni| eni.attachment).map(|(id, _)| id))
    }

    /// Takes over what EC2 says is attached: somebody else attached something, or the metadata
    /// service was late when we asked it.
    async fn ask_what_is_attached(&self) -> Result<(), Refused> {
        for eni in self.ec2.attached().await? {
            let id = EniId(eni.id.clone());
            let Some((attachment, device_index)) = eni.attachment.clone() else { continue };
            if self.node.interface(&id).is_none() {
                info!(eni = %id, device_index, "take over an interface that EC2 says is attached");
                let is = interface(&eni, &attachment, device_index);
                let subnet_cidr = self.node.subnet_cidr(&is.subnet);
                self.node.keep_interface(id, Attached::new(is, subnet_cidr));
            }
        }
        Ok(())
    }

    /// Tags by which interfaces of this node are known, to us and to the peer
    /// (`facts/peer-ipamd.md` §3.12).
    fn tags(&self, intent: &Intent) -> BTreeMap<String, String> {
        let settings = &self.node.settings;
        let mut tags = settings.additional_tags.clone();
        tags.insert(
            "node.k8s.amazonaws.com/instance_id".into(),
            self.node.identity.instance.clone(),
        );
        tags.insert("node.k8s.amazonaws.com/createdAt".into(), intent.created_at.clone());
        if let Some(cluster) = &settings.cluster {
            tags.insert("cluster.k8s.amazonaws.com/name".into(), cluster.clone());
            tags.insert("eks:eni:owner".into(), "amazon-vpc-cni".into());
        }
        tags
    }

    async fn assign(&self, id: &EniId, count: usize) -> Result<()> {
        let assigned = self.ec2.assign(&id.0, count).await?;
        info!(eni = %id, count = assigned.len(), "assigned addresses");
        let Some(mut eni) = self.node.interface(id) else { bail!("{id} is no longer attached") };
        let before = eni.is.addresses.len();
        let primary = eni.is.primary;
        eni.is.addresses.extend(assigned.into_iter().filter(|address| *address != primary));
        // Else the same plan would follow at once, for ever.
        ensure!(
            eni.is.addresses.len() > before,
            "AssignPrivateIpAddresses on {id} added no address"
        );
        self.node.keep_interface(id.clone(), eni);
        Ok(())
    }

    /// Detaches and deletes an interface without pods.
    async fn release(&self, id: &EniId) -> Result<()> {
        let Some(mut eni) = self.node.interface(id) else { return Ok(()) };
        let described = self.ec2.one(&id.0).await?;
        if described.as_ref().is_some_and(|described| !self.is_ours(described)) {
            info!(eni = %id, "somebody else attached this interface: it stays");
            eni.is.foreign = true;
            self.node.keep_interface(id.clone(), eni);
            return Ok(());
        }
        let attachment = described.and_then(|described| described.attachment).map(|(id, _)| id);
        if let Some(attachment) = attachment {
            self.ec2.detach(&attachment).await?;
        }
        info!(eni = %id, "detached");
        self.node.drop_interface(id);
        if let Some(kernel) = &eni.kernel {
            for failure in self.node.kernel().apply_each(&kernel.leftovers())? {
                warn!(eni = %id, error = %failure, "remove what a detached interface left");
            }
        }
        self.vanished(eni.is.mac).await?;
        self.delete(&id.0).await;
        Ok(())
    }

    /// Whether this daemon, or the peer's, made an interface for this node.
    fn is_ours(&self, eni: &Described) -> bool {
        let made_for = eni.tags.get(INSTANCE_TAG);
        made_for == Some(&self.node.identity.instance)
            && eni.tags.get(NO_MANAGE_TAG).is_none_or(|it| it != "true")
    }

    /// Waits until a device is gone, or long enough.
    async fn vanished(&self, mac: Mac) -> Result<()> {
        let deadline = Instant::now() + VANISH_WAIT;
        while Instant::now() < deadline && self.node.kernel().link_by_mac(mac)?.is_some() {
            tokio::time::sleep(VANISH_POLL).await;
        }
        Ok(())
    }

    /// Deletes an interface. What cannot be deleted is left for a later clean-up, by its tags.
    async fn delete(&self, eni: &str) {
        for _ in 0..DELETE_TRIES {
            match self.ec2.delete(eni).await {
                Ok(()) => return info!(eni, "deleted"),
                Err(refused) if refused.code == GONE => return,
                Err(refused) if refused.message.contains("in use") => {
                    tokio::time::sleep(DELETE_PAUSE).await
                }
                Err(refused) => {
                    return warn!(eni, error = %refused, "delete an interface; it is left over");
                }
            }
        }
        warn!(eni, tries = DELETE_TRIES, "delete an interface that stays in use; it is left over");
    }
}

/// An interface for the record.
pub(crate) fn interface(eni: &Described, attachment: &str, device_index: u32) -> Interface {
    Interface {
        mac: eni.mac,
        device_index,
        subnet: eni.subnet.clone(),
        primary: eni.primary,
        addresses: eni.secondary.iter().copied().collect(),
        attachment: Some(attachment.into()),
        foreign: false,
    }
}

/// EC2 counts interfaces of this instance that we do not know of.
fn is_unknown_attachment(refused: &Refused) -> bool {
    refused.code == "AttachmentLimitExceeded"
        || refused.message.contains("attached at device index")
}
