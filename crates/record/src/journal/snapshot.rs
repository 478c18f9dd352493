//! What the records add up to.

use super::{
    forms::{ms, time},
    model::{Attachment, Clock, Identity, Intent, Interface},
    record::{KnownConfig, Record},
    unknown_fields::UnknownFields,
};
use pool::{EniId, Owner, RecentCalls, Source, Supply, Time};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

/// How long a release stays on record after the address has cooled: whoever has another record knows of it
/// by then, and the link of a pod whose DEL was cut short is gone.
pub(super) const KEPT: Duration = Duration::from_mins(10);

/// What the records add up to.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Attachments whose DEL has not come.
    pub attachments: BTreeMap<Owner, Attachment>,
    /// Addresses that were released, and when.
    pub cooling: BTreeMap<Ipv4Addr, Time>,
    /// Interfaces that were being made, by device index.
    pub intents: BTreeMap<u32, Intent>,
    /// Interfaces of this node by id.
    pub interfaces: BTreeMap<String, Interface>,
    /// What calls for interfaces changed lately, and which were not answered.
    pub recent: BTreeMap<EniId, RecentCalls>,
    /// Interfaces of ours that are attached nowhere and are to be deleted.
    pub discarded: BTreeSet<EniId>,
    /// Who this node is.
    pub identity: Option<Identity>,
    /// What times on record are measured with, if that was noted.
    pub clock: Option<Clock>,
    pub(super) config: Option<KnownConfig>,
    /// What a newer daemon noted in records of known kinds.
    pub(super) unknown_fields: UnknownFields,
    /// Records of unknown kinds, as they are in the file, in their order.
    pub(super) unknown_lines: Vec<String>,
}

impl Snapshot {
    /// The ENIConfig that was last known.
    pub fn source(&self) -> Option<Source> {
        let KnownConfig { name, subnets, groups } = self.config.clone()?;
        Some(Source::EniConfig { name, supply: Supply { subnets, groups } })
    }

    /// Adds a record, and its fields that are unknown.
    pub(super) fn take(&mut self, record: Record, unknown: Option<Value>) {
        self.unknown_fields.note(&record, unknown, |owner| {
            self.attachments.get(owner).map(|attachment| attachment.address)
        });
        match record {
            Record::Assigned(attachment) => {
                // It has an owner again: a release before this one says nothing any more.
                self.cooling.remove(&attachment.address);
                self.attachments.insert(attachment.owner(), attachment);
            }
            Record::Released { network, container, interface, at_ms } => {
                let owner = Owner { network, container, interface };
                if let Some(attachment) = self.attachments.remove(&owner) {
                    self.cooling.insert(attachment.address, time(at_ms));
                }
            }
            Record::Cooling { address, since_ms } => {
                self.cooling.insert(address, time(since_ms));
            }
            Record::Config(config) => self.config = config,
            Record::Identity(identity) => self.identity = Some(identity),
            Record::Clock(clock) => self.clock = Some(clock),
            Record::Intent { device_index, now: Some(now) } => {
                drop(self.intents.insert(device_index, now))
            }
            Record::Intent { device_index, now: None } => drop(self.intents.remove(&device_index)),
            Record::Interface { id, now: Some(now) } => drop(self.interfaces.insert(id, now)),
            Record::Interface { id, now: None } => drop(self.interfaces.remove(&id)),
            Record::RecentCalls { id, now: Some(now) } => {
                drop(self.recent.insert(EniId(id), now.into()))
            }
            Record::RecentCalls { id, now: None } => drop(self.recent.remove(&EniId(id))),
            Record::Discarded { id, open: true } => drop(self.discarded.insert(EniId(id))),
            Record::Discarded { id, open: false } => drop(self.discarded.remove(&EniId(id))),
        }
    }

    /// No time on record is later than now: what comes from a clock that was ahead counts from now on.
    pub(super) fn forget_future(&mut self, now: Time) {
        let to_now = |at: &mut Time| *at = (*at).min(now);
        self.cooling.values_mut().for_each(to_now);
        for recent in self.recent.values_mut() {
            recent.asked.iter_mut().for_each(to_now);
            recent.eni.iter_mut().for_each(|(_, at)| to_now(at));
            recent.blocks.values_mut().for_each(|(_, at)| to_now(at));
        }
    }

    /// Forgets the addresses that had cooled for [`KEPT`] when the last one was released.
    pub(super) fn forget_cooled(&mut self, cooldown: Duration) {
        let last = self.cooling.values().max().copied().unwrap_or_default();
        let unknown_fields = &mut self.unknown_fields;
        self.cooling.retain(|address, since| {
            let cools = since.0 + cooldown + KEPT >= last.0;
            if !cools {
                unknown_fields.forget_cooling(*address);
            }
            cools
        });
    }

    /// How many lines [`Self::records`] and [`Self::unknown_lines`] make, without making them.
    pub(super) fn count(&self) -> usize {
        self.attachments.len()
            + self.cooling.len()
            + usize::from(self.identity.is_some())
            + usize::from(self.config.is_some())
            + usize::from(self.clock.is_some())
            + self.intents.len()
            + self.interfaces.len()
            + self.recent.len()
            + self.discarded.len()
            + self.unknown_lines.len()
    }

    /// The fewest records that add up to the same.
    pub(super) fn records(&self) -> Vec<Record> {
        let attachments = self.attachments.values().cloned().map(Record::Assigned);
        let cooling = self.cooling.iter();
        let cooling = cooling
            .map(|(address, since)| Record::Cooling { address: *address, since_ms: ms(*since) });
        let config = self.config.clone().map(|config| Record::Config(Some(config)));
        let identity = self.identity.clone().map(Record::Identity);
        let intents = self.intents.iter();
        let intents = intents.map(|(index, intent)| Record::Intent {
            device_index: *index,
            now: Some(intent.clone()),
        });
        let interfaces = self.interfaces.iter();
        let interfaces = interfaces
            .map(|(id, now)| Record::Interface { id: id.clone(), now: Some(now.clone()) });
        let recent = self.recent.iter();
        let recent =
            recent.map(|(id, now)| Record::RecentCalls { id: id.0.clone(), now: Some(now.into()) });
        let discarded = self.discarded.iter();
        let discarded = discarded.map(|id| Record::Discarded { id: id.0.clone(), open: true });
        let clock = self.clock.clone().map(Record::Clock);
        attachments
            .chain(clock)
            .chain(cooling)
            .chain(identity)
            .chain(config)
            .chain(intents)
            .chain(interfaces)
            .chain(recent)
            .chain(discarded)
            .collect()
    }
}
