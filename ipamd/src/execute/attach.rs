//! Attaches a new interface: on record first, then Create and Attach.

use super::{Executor, origin, refusal, special_type};
use crate::{
    aws::{
        self,
        ec2::{Described, Listed, NewEni, Refused},
    },
    node::{Attached, Node, Occupied, now},
};
use anyhow::{Context, Result};
use pool::{Action, Amount, Cause, Change, EniId, Presence};
use record::{Intent, Interface};
use sha1::{Digest, Sha1};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tracing::{info, warn};

/// The first pause before what the last daemon began is tried again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest: the interface may exist, and costs an address and a slot.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether a call was perhaps made before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    First,
    Again,
}

impl Executor {
    /// Finishes the interfaces that were being made when the last daemon ended, side by side with
    /// everything else. If nobody wants them any more, the plan gives them back.
    pub(crate) fn resume(&self) {
        let intents: Vec<Intent> =
            self.node.store.state().journal.snapshot().intents.values().cloned().collect();
        for intent in intents {
            let action = intent.action();
            self.node.store.state().pool.started(&action);
            tokio::spawn(self.clone().finish(intent, action));
        }
        let releasing = self.node.store.state().releasing();
        for id in releasing {
            tokio::spawn(self.clone().finish_release(id));
        }
    }

    /// Repeats what is left to do for an interface until its outcome is known: nothing else would,
    /// and the interface may exist.
    async fn finish(self, intent: Intent, action: Action) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.attach(&intent, Time::Again).await {
            let what = "failed to finish an interface that the last daemon began";
            warn!(error = format!("{error:#}"), retry_in = ?pause, "{what}");
            let open = self
                .node
                .store
                .state()
                .journal
                .snapshot()
                .intents
                .get(&intent.device_index)
                .cloned();
            if open.as_ref() != Some(&intent) {
                return self.node.store.ended(&action, Some(refusal(&error, "")));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.node.store.ended(&action, None);
    }

    pub(super) async fn attach_new(
        &self,
        device_index: u32,
        subnet: &str,
        groups: &BTreeSet<String>,
        amount: Amount,
    ) -> Result<()> {
        let (time, intent) = self.intent(device_index, subnet, groups, amount)?;
        self.attach(&intent, time).await
    }

    /// What is about to be made, on record first. What is on record already goes first: then EC2
    /// answers with what the first call made, and nothing is left over.
    fn intent(
        &self,
        device_index: u32,
        subnet: &str,
        groups: &BTreeSet<String>,
        amount: Amount,
    ) -> Result<(Time, Intent)> {
        let mut state = self.node.store.state();
        if let Some(intent) = state.journal.snapshot().intents.get(&device_index) {
            return Ok((Time::Again, intent.clone()));
        }
        let created_at = aws::rfc3339(SystemTime::now())?;
        let seed = format!("{} {created_at} {device_index}", self.node.identity.instance);
        let (addresses, prefixes) = match amount {
            Amount::Addresses(count) => (count, 0),
            Amount::Prefixes(count) => (0, count),
        };
        let intent = Intent {
            token: Sha1::digest(seed).iter().map(|byte| format!("{byte:02x}")).collect(),
            tags: state.tags.of_new(&created_at),
            created_at,
            device_index,
            subnet: subnet.to_owned(),
            groups: groups.clone(),
            addresses,
            prefixes,
        };
        state.journal.intent(device_index, Some(intent.clone()))?;
        Ok((Time::First, intent))
    }

    async fn attach(&self, intent: &Intent, time: Time) -> Result<()> {
        let made = self.create_and_attach(intent, time).await;
        if let Err(refused) = &made {
            self.forget_intent(intent, Some(refused))?;
            if is_unknown_attachment(refused) {
                self.ask_what_is_attached().await?;
            }
        }
        let (eni, attachment) = made?;
        let id = EniId(eni.id.clone());
        info!(eni = %id, device_index = intent.device_index, blocks = eni.blocks.len(), "attached");
        // When this is a repetition, pods may have addresses of it already, or it was found in a list
        // and given back since.
        let there = self.node.store.recent(&id).presence(true, true, now()) == Presence::Attached;
        if there && self.node.store.interface(&id).is_none() {
            let instance = &self.node.identity.instance;
            let record = interface(&eni, &attachment, intent.device_index, instance);
            let mut record = record.context("EC2 made an interface without an IPv4 address")?;
            record.subnet_cidr = self.node.store.subnet_cidr(&record.subnet);
            record.tags.extend(new_tags(&self.node, intent));
            self.node.store.note_answer(&id, |recent, now| {
                recent.eni = Some((Change::Added, now));
                recent.changed(Change::Added, &record.blocks(), now);
            });
            self.node.keep_interface(id, Attached::new(record));
        }
        // Not before the interface is on record; that it ends with its instance is planned apart,
        // as pods do not wait for it.
        self.forget_intent(intent, None)
    }

    /// Takes the intent off the record once there is nothing to repeat.
    fn forget_intent(&self, intent: &Intent, refused: Option<&Refused>) -> Result<()> {
        if refused.is_some_and(|refused| !is_final(refused)) {
            return Ok(());
        }
        self.node.store.state().journal.intent(intent.device_index, None)
    }

    async fn create_and_attach(
        &self,
        intent: &Intent,
        time: Time,
    ) -> Result<(Described, String), Refused> {
        // What Create made is known to this process: Attach alone is repeated.
        let made = self.made().remove(&intent.token);
        if let Some(eni) = made {
            match self.ec2.attach(&eni.id, intent.device_index).await {
                Ok(attachment) => return Ok((eni, attachment)),
                Err(refused) if refused.cause() == Cause::Throttled => {
                    self.made().insert(intent.token.clone(), eni);
                    return Err(refused);
                }
                // The interface may be gone, or attached: EC2 is asked.
                Err(_) => {}
            }
        }
        let new = NewEni {
            subnet: intent.subnet.clone(),
            groups: intent.groups.clone(),
            addresses: intent.addresses,
            prefixes: intent.prefixes,
            tags: new_tags(&self.node, intent),
            client_token: intent.token.clone(),
        };
        let eni = self.ec2.create(&new).await?;
        // A repeated Create answers with the interface as it was made; since then it may have been
        // attached, and have got more addresses.
        if time == Time::Again
            && let Some(now) = self.ec2.one(&eni.id).await?
            && let Some((attachment, _)) = now.attachment.clone()
        {
            return Ok((now, attachment));
        }
        match self.ec2.attach(&eni.id, intent.device_index).await {
            Ok(attachment) => Ok((eni, attachment)),
            Err(refused) => {
                if is_final(&refused) {
                    self.delete(&eni.id).await;
                } else if refused.cause() == Cause::Throttled {
                    self.made().insert(intent.token.clone(), eni);
                }
                Err(refused)
            }
        }
    }

    /// Takes over what EC2 says is attached: somebody else attached something, or the metadata
    /// service was late when we asked it.
    async fn ask_what_is_attached(&self) -> Result<(), Refused> {
        let listed = self.ec2.attached().await?;
        self.node.note_occupied(occupied(&listed));
        for eni in listed.interfaces {
            let id = EniId(eni.id.clone());
            let Some((attachment, device_index)) = eni.attachment.clone() else { continue };
            // What was given back may be listed for a while.
            let there =
                self.node.store.recent(&id).presence(true, true, now()) == Presence::Attached;
            if there && self.node.store.interface(&id).is_none() {
                let instance = &self.node.identity.instance;
                let record = interface(&eni, &attachment, device_index, instance);
                let Some(mut record) = record else { continue };
                info!(eni = %id, device_index, "take over an interface that EC2 says is attached");
                record.subnet_cidr = self.node.store.subnet_cidr(&record.subnet);
                self.node.keep_interface(id, Attached::new(record));
            }
        }
        Ok(())
    }

    fn made(&self) -> MutexGuard<'_, BTreeMap<String, Described>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tags of an interface that is being made. An older daemon did not note them.
fn new_tags(node: &Node, intent: &Intent) -> BTreeMap<String, String> {
    if intent.tags.is_empty() {
        return node.store.state().tags.of_new(&intent.created_at);
    }
    intent.tags.clone()
}

/// An interface for the record; `None` for one without IPv4.
pub(crate) fn interface(
    eni: &Described,
    attachment: &str,
    device_index: u32,
    instance: &str,
) -> Option<Interface> {
    let mut interface = Interface {
        mac: eni.mac,
        card: eni.card,
        device_index,
        subnet: eni.subnet.clone(),
        subnet_cidr: None,
        primary: eni.primary?,
        groups: eni.groups.clone(),
        addresses: BTreeSet::new(),
        prefixes: BTreeSet::new(),
        attachment: Some(attachment.into()),
        origin: origin(eni, device_index, instance),
        outlives_instance: !eni.ends_with_instance,
        special_type: special_type(eni, device_index),
        tags: eni.tags.clone(),
    };
    interface.add(eni.blocks.iter().copied());
    Some(interface)
}

/// The slots of interfaces that have no IPv4 or that cannot be read.
pub(crate) fn occupied(listed: &Listed) -> BTreeMap<EniId, Occupied> {
    let without = listed.interfaces.iter().filter(|eni| eni.primary.is_none()).filter_map(|eni| {
        let (_, device_index) = eni.attachment.as_ref()?;
        let why = match &eni.special_type {
            Some(kind) => format!("it has no IPv4 address, and is of type {kind}"),
            None => "it has no IPv4 address".into(),
        };
        Some((eni.id.clone(), eni.card, *device_index, why))
    });
    let unreadable = listed.unreadable.iter().filter_map(|eni| {
        let (card, device_index) = eni.place?;
        let why = format!("what EC2 says of it cannot be read: {}", eni.why);
        Some((eni.id.clone(), card, device_index, why))
    });
    let slot = |(id, card, device_index, why)| (EniId(id), Occupied { card, device_index, why });
    without.chain(unreadable).map(slot).collect()
}

/// Whether a refusal will be the same next time. A call whose answer was lost may have been carried
/// out or not, and one that was throttled goes on where it stopped.
fn is_final(refused: &Refused) -> bool {
    !matches!(refused.cause(), Cause::Unavailable | Cause::Throttled)
}

/// EC2 counts interfaces of this instance that we do not know of.
fn is_unknown_attachment(refused: &Refused) -> bool {
    refused.code == "AttachmentLimitExceeded"
        || refused.message.contains("attached at device index")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ec2::Unreadable;

    #[test]
    fn interfaces_without_ipv4_and_unreadable_ones_take_their_slots_and_no_others_do() {
        let eni = |id: &str, primary, index: Option<u32>| Described {
            id: id.into(),
            mac: net::Mac([2; 6]),
            primary,
            special_type: None,
            blocks: BTreeSet::new(),
            groups: BTreeSet::new(),
            subnet: "subnet-1".into(),
            tags: BTreeMap::new(),
            card: 0,
            attachment: index.map(|index| ("eni-attach-1".into(), index)),
            ends_with_instance: false,
        };
        let unreadable = |id: &str, place| Unreadable { id: id.into(), place, why: "odd".into() };
        let listed = Listed {
            interfaces: vec![
                eni("eni-1", Some([10, 0, 0, 5].into()), Some(1)),
                eni("eni-2", None, Some(2)),
                eni("eni-3", None, None),
            ],
            unreadable: vec![unreadable("eni-4", Some((1, 3))), unreadable("eni-5", None)],
        };

        let slots = occupied(&listed);

        let places = slots.iter().map(|(id, it)| (id.0.as_str(), it.card, it.device_index));
        assert_eq!(places.collect::<Vec<_>>(), [("eni-2", 0, 2), ("eni-4", 1, 3)]);
        assert_eq!(interface(&listed.interfaces[1], "eni-attach-1", 2, "i-1"), None);
    }
}
