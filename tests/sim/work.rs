//! Actions of a plan as calls that take time, fail, and get lost.

use crate::{
    cloud::{self, Cloud, NODE_TAG, Refused},
    node::{Node, blocks},
    views::{Listed, count_free},
};
use ipnetwork::Ipv4Network;
use pool::{Action, Amount, Block, Cause, Change, EniId, Lifetime, Presence, Refusal, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use vpc::{
    Ec2Error, EniId as Id, Interface,
    assign::{Assigned, Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{Attribute, CreateInterface},
};

/// Tag by which the judge finds what a call made whose answer was lost.
const TOKEN_TAG: &str = "token";

/// Tries of a call that only finishes what another began.
const TRIES: u32 = 30;

/// What reading the metadata takes.
const METADATA: Duration = Duration::from_millis(50);

/// The longest pause between them.
const PAUSE: Duration = Duration::from_secs(16);

/// An interface that is being made.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    request: CreateInterface,
    amount: Amount,
    /// A Create call was not answered: the interface may be there.
    may_exist: bool,
}

/// An action under way.
#[derive(Debug)]
pub(crate) struct Work {
    /// `None` for a question about what is attached.
    pub(crate) action: Option<Action>,
    pub(crate) stage: Stage,
    /// What an answer tells was true then, or before.
    pub(crate) begun: Time,
    pub(crate) due: Time,
    answer: Result<Reply, Refused>,
    tries: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Create,
    Attach(EniId),
    /// Was it attached?
    LookAttached(EniId),
    Undo(EniId, Refusal),
    Change,
    /// What became of it?
    Look(Refusal),
    /// The last daemon was giving it back, and pods use it: is it attached?
    LookKept,
    Detach,
    Vanish,
    Delete,
    /// Do the metadata differ from the record?
    Compare,
    /// They do: what does EC2 list? With what the metadata show.
    CompareLists(BTreeSet<EniId>),
    /// What became of calls that were not answered?
    Resolve,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Made(EniId),
    Assigned(BTreeSet<Block>),
    Listed(Listed),
    Counted(Vec<(String, u32)>),
    /// What the metadata show, if they are worth listening to.
    Shown(Option<BTreeMap<EniId, BTreeSet<Block>>>),
    Done,
}

/// What to do after an answer.
pub(crate) enum Next {
    Call(Stage),
    Again,
    Succeeded,
    Refused(Refusal),
}

impl Work {
    /// What is asked until it is known.
    fn is_question(&self) -> bool {
        match self.stage {
            Stage::Compare
            | Stage::CompareLists(_)
            | Stage::Resolve
            | Stage::Look(_)
            | Stage::LookKept => true,
            Stage::Create
            | Stage::Attach(_)
            | Stage::LookAttached(_)
            | Stage::Undo(..)
            | Stage::Change
            | Stage::Detach
            | Stage::Vanish
            | Stage::Delete => false,
        }
    }
}

impl Intent {
    /// If the interface exists and nobody asks for it again, the clean-up by tags finds it.
    fn may_be_lost(&self, cloud: &mut Cloud) {
        let token = self.request.client_token.as_deref();
        let of_token = |id: &&Id| {
            let tags = cloud.vpc.tags(id.as_str());
            tags.and_then(|tags| tags.get(TOKEN_TAG)).map(String::as_str) == token
        };
        let made: Vec<Id> = cloud.vpc.interfaces().keys().filter(of_token).cloned().collect();
        cloud.abandoned.extend(made);
    }
}

impl Node {
    pub(crate) fn begin(&mut self, action: Action, cloud: &mut Cloud, now: Time) {
        let stage = match &action {
            Action::AttachEni { device_index, subnet, groups, amount } => {
                let known = self.journal.intents.get(device_index);
                if known.is_none_or(|intent| !intent.may_exist) {
                    self.tokens += 1;
                    let token = format!("{}-{}", self.instance, self.tokens);
                    let request = CreateInterface {
                        subnet_id: subnet.clone(),
                        groups: groups.iter().cloned().collect(),
                        wanted: wanted(*amount),
                        tags: self
                            .tagging
                            .of_new([(NODE_TAG, &self.instance.0), (TOKEN_TAG, &token)]),
                        client_token: Some(token),
                        ..CreateInterface::default()
                    };
                    let intent = Intent { request, amount: *amount, may_exist: false };
                    self.journal.intents.insert(*device_index, intent);
                }
                Stage::Create
            }
            Action::Assign { eni, .. } => {
                self.journal.recent.entry(eni.clone()).or_default().ask(now);
                Stage::Change
            }
            Action::Unassign { eni, blocks } => {
                // Off the record first: a daemon that is killed in between must not hand it out.
                let recent = self.journal.recent.entry(eni.clone()).or_default();
                recent.changed(Change::Removed, blocks, now);
                recent.ask(now);
                let known = self.journal.enis.get_mut(eni).expect("attached");
                known.blocks.retain(|it| !blocks.contains(it));
                Stage::Change
            }
            Action::SetGroups { .. }
            | Action::EndWithInstance { .. }
            | Action::Tag { .. }
            | Action::Inspect { .. }
            | Action::CountFree { .. } => Stage::Change,
            Action::DeleteEni { eni } => {
                let recent = self.journal.recent.entry(eni.clone()).or_default();
                recent.eni = Some((Change::Removed, now));
                recent.ask(now);
                Stage::Detach
            }
        };
        self.call(Some(action), stage, 0, cloud, now);
    }

    /// Finishes what the last daemon left open.
    pub(crate) fn resume(&mut self, cloud: &mut Cloud, now: Time) {
        for (device_index, intent) in &mut self.journal.intents {
            intent.may_exist = true;
            let action = Action::AttachEni {
                device_index: *device_index,
                subnet: intent.request.subnet_id.clone(),
                groups: intent.request.groups.iter().cloned().collect(),
                amount: intent.amount,
            };
            self.pool.as_mut().expect("the daemon runs").started(&action);
            self.laws.resumed(&action);
        }
        for device_index in self.journal.intents.keys().copied().collect::<Vec<_>>() {
            let intent = &self.journal.intents[&device_index];
            let action = Action::AttachEni {
                device_index,
                subnet: intent.request.subnet_id.clone(),
                groups: intent.request.groups.iter().cloned().collect(),
                amount: intent.amount,
            };
            self.begin(action, cloud, now);
        }
        for eni in self.leaving() {
            if self.pool.as_ref().expect("the daemon runs").carries(&eni) {
                self.call(Some(Action::DeleteEni { eni }), Stage::LookKept, 0, cloud, now);
                continue;
            }
            // The call may have been made, or be in flight.
            self.outcome_unknown.insert(eni.clone());
            self.begin(Action::DeleteEni { eni }, cloud, now);
        }
        let open = self.journal.recent.iter().filter(|(_, it)| it.asked.is_some());
        for id in open.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.mark_outcome_unknown(&id, cloud, now);
        }
    }

    /// The daemon dies: what it was about to do is on record.
    pub(crate) fn abandon_works(&mut self, cloud: &mut Cloud) {
        for intent in self.journal.intents.values() {
            intent.may_be_lost(cloud);
        }
        for work in std::mem::take(&mut self.works) {
            match (&work.stage, &work.action) {
                (Stage::Undo(eni, _), _) | (Stage::Delete, Some(Action::DeleteEni { eni })) => {
                    cloud.abandoned.insert(Id(eni.0.clone()));
                }
                _ => {}
            }
        }
        self.outcome_unknown.clear();
        self.comparing = false;
    }

    /// Takes the answers that have come.
    pub(crate) fn work(&mut self, cloud: &mut Cloud, now: Time) {
        while let Some(at) = self.works.iter().position(|work| work.due <= now) {
            let work = self.works.remove(at);
            match self.judge(&work, cloud, now) {
                Next::Call(stage) => self.call(work.action, stage, 0, cloud, now),
                Next::Again if work.tries < TRIES || work.is_question() => {
                    self.call(work.action, work.stage, work.tries + 1, cloud, now);
                }
                Next::Again => {
                    if let Stage::Undo(eni, _) = &work.stage {
                        cloud.abandoned.insert(Id(eni.0.clone()));
                    } else if let Some(Action::DeleteEni { eni }) = &work.action {
                        cloud.abandoned.insert(Id(eni.0.clone()));
                    }
                    let refusal = Refusal { cause: Cause::Unavailable, message: "given up".into() };
                    self.finish(work.action.as_ref(), Err(refusal), cloud, now);
                }
                Next::Succeeded => {
                    self.finish(work.action.as_ref(), Ok(()), cloud, now);
                    if self.comparing && work.action.is_none() {
                        self.comparing = false;
                        self.resume(cloud, now);
                    }
                }
                Next::Refused(refusal) => {
                    self.finish(work.action.as_ref(), Err(refusal), cloud, now);
                }
            }
        }
    }

    fn finish(
        &mut self,
        action: Option<&Action>,
        how: Result<(), Refusal>,
        cloud: &Cloud,
        now: Time,
    ) {
        let Some(action) = action else { return };
        self.journal.forget(now);
        self.observe(cloud, now);
        self.laws.finished(action);
        match how {
            Ok(()) => {
                self.laws.succeeded(action);
                self.pool.as_mut().expect("the daemon runs").succeeded(action);
            }
            Err(refusal) => self.refuse(action, refusal, now),
        }
    }

    fn judge(&mut self, work: &Work, cloud: &mut Cloud, now: Time) -> Next {
        let device_index = match &work.action {
            Some(Action::AttachEni { device_index, .. }) => *device_index,
            _ => 0,
        };
        match (&work.stage, &work.answer) {
            (Stage::Create, Ok(Reply::Made(eni))) => {
                let truth = cloud.vpc.interface(&eni.0);
                match truth.is_ok_and(|it| it.attachment.is_some()) {
                    true => Next::Call(Stage::LookAttached(eni.clone())),
                    false => Next::Call(Stage::Attach(eni.clone())),
                }
            }
            (Stage::Create, Err(refused)) => self.not_created(device_index, refused, cloud),
            (Stage::Attach(eni), Ok(_)) => self.attached(eni, device_index, cloud, now),
            (Stage::Attach(eni), Err(refused)) => {
                // A throttled Attach is worth waiting for: to begin anew costs three calls more.
                let again = refused.refusal.cause == Cause::Throttled && work.tries < 10;
                match refused.ambiguous {
                    true => Next::Call(Stage::LookAttached(eni.clone())),
                    false if again => Next::Again,
                    false => Next::Call(Stage::Undo(eni.clone(), refused.refusal.clone())),
                }
            }
            (Stage::LookAttached(eni), Ok(_)) => {
                let truth = cloud.vpc.interface(&eni.0).ok();
                let here = truth.and_then(|it| it.attachment.as_ref());
                if here.is_some_and(|it| it.instance_id == self.instance) {
                    return self.attached(eni, device_index, cloud, now);
                }
                let refusal = Refusal { cause: Cause::Unavailable, message: "not attached".into() };
                Next::Call(Stage::Undo(eni.clone(), refusal))
            }
            (Stage::Undo(eni, refusal), _) if cloud.vpc.interface(&eni.0).is_err() => {
                self.journal.intents.remove(&device_index);
                Next::Refused(refusal.clone())
            }
            (Stage::Change, Ok(reply)) => self.changed(work, reply, now),
            (Stage::Change, Err(refused)) => {
                self.unchanged(work.action.as_ref(), refused, cloud, now);
                Next::Refused(refused.refusal.clone())
            }
            (Stage::Detach, Err(refused)) => self.not_detached(work.action.as_ref(), refused),
            (Stage::Look(refusal), Ok(Reply::Listed(listed))) => self.looked(work, refusal, listed),
            (Stage::LookKept, Ok(Reply::Listed(listed))) => self.looked_kept(work, listed),
            (Stage::Compare, Ok(Reply::Shown(shown))) => self.compared(shown.as_ref()),
            (Stage::CompareLists(shown), Ok(Reply::Listed(listed))) => {
                self.take_over(listed, shown, work.begun);
                Next::Succeeded
            }
            (Stage::Resolve, Ok(Reply::Listed(listed))) => self.resolve_outcome(listed, work.begun),
            (Stage::Detach, Ok(_)) => Next::Call(Stage::Vanish),
            (Stage::Vanish, _) => self.vanished(work, cloud, now),
            (Stage::Delete, _) if gone(work.action.as_ref(), cloud) => Next::Succeeded,
            (
                Stage::LookAttached(_)
                | Stage::Undo(..)
                | Stage::Look(_)
                | Stage::LookKept
                | Stage::Delete
                | Stage::Create
                | Stage::Compare
                | Stage::CompareLists(_)
                | Stage::Resolve,
                _,
            ) => Next::Again,
        }
    }

    fn not_created(&mut self, device_index: u32, refused: &Refused, cloud: &mut Cloud) -> Next {
        let intent = self.journal.intents.get_mut(&device_index).expect("noted at the beginning");
        if refused.ambiguous {
            intent.may_exist = true;
            intent.may_be_lost(cloud);
        }
        // Only an answer about the request itself says that the first call made nothing.
        let silent =
            matches!(refused.refusal.cause, Cause::Throttled | Cause::Unavailable | Cause::Denied);
        if !(silent && intent.may_exist) {
            self.journal.intents.remove(&device_index);
        }
        // Indexes or slots may be taken by what we do not see.
        match refused.refusal.cause == Cause::Limit {
            true => Next::Call(Stage::Look(refused.refusal.clone())),
            false => Next::Refused(refused.refusal.clone()),
        }
    }

    fn attached(&mut self, eni: &EniId, device_index: u32, cloud: &mut Cloud, now: Time) -> Next {
        self.journal.intents.remove(&device_index);
        if let Ok(interface) = cloud.vpc.interface(&eni.0)
            && let Some(known) = self.known(interface, &cloud.vpc)
        {
            cloud.abandoned.remove(eni.0.as_str());
            let recent = self.journal.recent.entry(eni.clone()).or_default();
            // It was found in a list before, and given back since.
            if recent.presence(true, true, now) == Presence::Releasing {
                return Next::Succeeded;
            }
            recent.eni = Some((Change::Added, now));
            recent.changed(Change::Added, &known.blocks, now);
            self.tagging.note([eni], cloud.vpc.tags(&eni.0).unwrap_or(&BTreeMap::new()));
            self.journal.enis.insert(eni.clone(), known);
            if !self.late_by.is_zero() {
                self.late.insert(eni.clone(), now + self.late_by);
            }
        }
        Next::Succeeded
    }

    fn changed(&mut self, work: &Work, reply: &Reply, now: Time) -> Next {
        let enis = &mut self.journal.enis;
        match (&work.action, reply) {
            (Some(Action::Assign { eni, .. }), Reply::Assigned(fresh)) => {
                enis.get_mut(eni).expect("attached").blocks.extend(fresh);
                self.journal.recent.entry(eni.clone()).or_default().changed(
                    Change::Added,
                    fresh,
                    now,
                );
                self.answered(eni);
            }
            (Some(Action::Unassign { eni, blocks }), _) => {
                self.journal.recent.entry(eni.clone()).or_default().changed(
                    Change::Removed,
                    blocks,
                    now,
                );
                self.answered(eni);
            }
            (Some(Action::SetGroups { eni, groups }), _) => {
                enis.get_mut(eni).expect("attached").groups.clone_from(groups);
            }
            (Some(Action::Tag { enis, tags }), _) => self.tagging.note(enis, tags),
            // It may have been given back meanwhile.
            (Some(Action::EndWithInstance { eni }), _) => {
                if let Some(eni) = enis.get_mut(eni) {
                    eni.lifetime = Lifetime::Instance;
                }
            }
            (Some(Action::Inspect { eni }), Reply::Listed(listed)) => {
                let Some(is) = listed.get(eni) else {
                    let message = "EC2 does not list it yet".into();
                    return Next::Refused(Refusal { cause: Cause::Unavailable, message });
                };
                let known = enis.get_mut(eni).expect("attached");
                let recent = self.journal.recent.get(eni).cloned().unwrap_or_default();
                let blocks = recent.blocks(&known.blocks, &is.blocks, work.begun).blocks;
                (known.ownership, known.lifetime) = (is.ownership, is.lifetime);
                known.blocks.extend(blocks);
            }
            (Some(Action::CountFree { .. }), Reply::Counted(free)) => {
                let pool = self.pool.as_mut().expect("the daemon runs");
                pool.note_room(free.clone(), now);
            }
            _ => {}
        }
        Next::Succeeded
    }

    fn vanished(&mut self, work: &Work, cloud: &Cloud, now: Time) -> Next {
        let Some(Action::DeleteEni { eni }) = &work.action else { return Next::Succeeded };
        let truth = cloud.vpc.interface(&eni.0).ok();
        if truth.is_some_and(|interface| interface.attachment.is_some()) {
            return Next::Again;
        }
        self.journal.enis.remove(eni);
        // Lists may show it for a while.
        let recent = self.journal.recent.entry(eni.clone()).or_default();
        recent.eni = Some((Change::Removed, now));
        Next::Call(Stage::Delete)
    }

    pub(crate) fn call(
        &mut self,
        action: Option<Action>,
        stage: Stage,
        tries: u32,
        cloud: &mut Cloud,
        now: Time,
    ) {
        let pause = match tries {
            0 => Duration::ZERO,
            tries => Duration::from_millis(500).saturating_mul(1 << tries.min(10)).min(PAUSE),
        };
        let number = self.number;
        let (answer, due) = match &stage {
            Stage::Vanish => (Ok(Reply::Done), now + Duration::from_secs(1)),
            Stage::Create => {
                let Some(Action::AttachEni { device_index, .. }) = &action else {
                    unreachable!("only this action creates")
                };
                let request = &self.journal.intents[device_index].request;
                cloud.call(now, number, "Create", |vpc, at| {
                    let made = vpc.create_network_interface(at, request)?;
                    Ok(Reply::Made(EniId(made.id.0.clone())))
                })
            }
            Stage::Attach(eni) => {
                let Some(Action::AttachEni { device_index, .. }) = &action else {
                    unreachable!("only this action attaches")
                };
                let request = Attach {
                    interface_id: eni.0.clone(),
                    instance_id: self.instance.0.clone(),
                    device_index: *device_index,
                    card_index: None,
                };
                cloud.call(now, number, "Attach", |vpc, at| {
                    vpc.attach_network_interface(at, &request).map(|_| Reply::Done)
                })
            }
            Stage::LookAttached(_) => cloud.call(now, number, "Describe", |_, _| Ok(Reply::Done)),
            Stage::Look(_) | Stage::LookKept | Stage::CompareLists(_) | Stage::Resolve => {
                self.list(cloud, now)
            }
            Stage::Compare => {
                let shown = cloud.metadata(now, number, &self.instance);
                let of = |it: &Interface| (EniId(it.id.0.clone()), blocks(it));
                let shown = shown.map(|shown| shown.iter().map(of).collect());
                (Ok(Reply::Shown(shown)), now + METADATA)
            }
            Stage::Undo(eni, _) => cloud.call(now, number, "Delete", |vpc, at| {
                vpc.delete_network_interface(at, &eni.0).map(|()| Reply::Done)
            }),
            Stage::Change if matches!(action, Some(Action::Inspect { .. })) => {
                self.list(cloud, now)
            }
            Stage::Change if let Some(Action::CountFree { subnets }) = &action => {
                count_free(subnets, number, cloud, now)
            }
            Stage::Detach | Stage::Delete | Stage::Change => {
                let action = action.as_ref().expect("these are of an action");
                let deletes = matches!(stage, Stage::Delete);
                let name = cloud::name(action, deletes);
                cloud.call(now, number, name, |vpc, at| apply(vpc, at, action, deletes))
            }
        };
        self.works.push(Work { action, stage, begun: now, due: due + pause, answer, tries });
    }
}

fn apply(
    vpc: &mut vpc::Vpc,
    at: vpc::Time,
    action: &Action,
    deletes: bool,
) -> Result<Reply, Ec2Error> {
    match action {
        Action::Tag { enis, tags } => {
            let resources: Vec<String> = enis.iter().map(|eni| eni.0.clone()).collect();
            vpc.create_tags(&resources, tags).map(|()| Reply::Done)
        }
        Action::AttachEni { .. } | Action::Inspect { .. } | Action::CountFree { .. } => {
            Ok(Reply::Done)
        }
        Action::EndWithInstance { eni } => {
            let attachment = vpc.interface(&eni.0)?.attachment.clone();
            let Some(attachment) = attachment else { return Ok(Reply::Done) };
            let attachment_id = attachment.id.0;
            let attribute = Attribute::DeleteOnTermination { attachment_id, value: true };
            vpc.modify_network_interface_attribute(at, &eni.0, &attribute).map(|()| Reply::Done)
        }
        Action::Assign { eni, amount } => {
            let before = blocks(vpc.interface(&eni.0)?);
            vpc.assign_private_ip_addresses(at, &eni.0, &wanted(*amount), Reassignment::Refused)?;
            let after = blocks(vpc.interface(&eni.0)?);
            Ok(Reply::Assigned(after.difference(&before).copied().collect()))
        }
        Action::Unassign { eni, blocks } => {
            let mut gone = Assigned::default();
            for block in blocks {
                match block {
                    Block::Address(address) => gone.addresses.push(*address),
                    Block::Prefix(first) => {
                        let prefix = Ipv4Network::new(*first, 28);
                        gone.prefixes.push(prefix.map_err(|it| Ec2Error::invalid(it.to_string()))?);
                    }
                }
            }
            vpc.unassign_private_ip_addresses(at, &eni.0, &gone).map(|()| Reply::Done)
        }
        Action::SetGroups { eni, groups } => {
            let attribute = Attribute::Groups(groups.iter().cloned().collect());
            vpc.modify_network_interface_attribute(at, &eni.0, &attribute).map(|()| Reply::Done)
        }
        Action::DeleteEni { eni } if deletes => {
            vpc.delete_network_interface(at, &eni.0).map(|()| Reply::Done)
        }
        Action::DeleteEni { eni } => {
            let attachment = vpc.interface(&eni.0)?.attachment.clone();
            let Some(attachment) = attachment else { return Ok(Reply::Done) };
            vpc.detach_network_interface(at, attachment.id.as_str(), Detach::Orderly)
                .map(|()| Reply::Done)
        }
    }
}

fn wanted(amount: Amount) -> Wanted {
    match amount {
        Amount::Addresses(count) => Wanted::Count(count as u32),
        Amount::Prefixes(count) => Wanted::PrefixCount(count as u32),
    }
}

fn gone(action: Option<&Action>, cloud: &Cloud) -> bool {
    let Some(Action::DeleteEni { eni }) = action else { return true };
    cloud.vpc.interface(&eni.0).is_err()
}
