//! Actions of a plan as calls that take time, fail, and get lost.

use crate::{
    cloud::{Cloud, NODE_TAG, Refused},
    node::{Node, blocks},
};
use ipnetwork::Ipv4Network;
use pool::{Action, Amount, Block, Cause, Custody, EniId, Lifetime, Refusal, Time};
use std::{collections::BTreeSet, time::Duration};
use vpc_sim::vpc::{
    AttachmentState, Ec2Error, EniId as Id,
    assign::{Assigned, Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{Attribute, CreateInterface},
};

/// Tag by which the judge finds what a call made whose answer was lost.
const TOKEN_TAG: &str = "token";

/// Tries of a call that only finishes what another began.
const TRIES: u32 = 30;

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
    /// `None` for a look at what is attached after a restart.
    pub(crate) action: Option<Action>,
    stage: Stage,
    pub(crate) due: Time,
    answer: Result<Reply, Refused>,
    tries: u32,
}

#[derive(Clone, Debug)]
enum Stage {
    Create,
    Attach(EniId),
    /// Was it attached?
    LookAttached(EniId),
    Undo(EniId, Refusal),
    Change,
    /// What became of it?
    Look(Refusal),
    Detach,
    Vanish,
    Delete,
}

#[derive(Clone, Debug)]
enum Reply {
    Made(EniId),
    Assigned(BTreeSet<Block>),
    Done,
}

/// What to do after an answer.
enum Next {
    Call(Stage),
    Again,
    Succeeded,
    Refused(Refusal),
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
                        tags: [
                            (NODE_TAG.into(), self.instance.0.clone()),
                            (TOKEN_TAG.into(), token.clone()),
                        ]
                        .into(),
                        client_token: Some(token),
                        ..CreateInterface::default()
                    };
                    let intent = Intent { request, amount: *amount, may_exist: false };
                    self.journal.intents.insert(*device_index, intent);
                }
                Stage::Create
            }
            Action::Assign { .. }
            | Action::Unassign { .. }
            | Action::SetGroups { .. }
            | Action::EndWithInstance { .. }
            | Action::Inspect { .. }
            | Action::CountFree { .. } => Stage::Change,
            Action::ReleaseEni { .. } => Stage::Detach,
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
        if std::mem::take(&mut self.journal.unsure) {
            let refusal = Refusal { cause: Cause::Unavailable, said: "restarted".into() };
            self.call(None, Stage::Look(refusal), 0, cloud, now);
        }
    }

    /// The daemon dies: what it was about to do is on record, so that nothing which may be gone by
    /// now is handed out.
    pub(crate) fn abandon_works(&mut self, cloud: &mut Cloud) {
        for intent in self.journal.intents.values() {
            intent.may_be_lost(cloud);
        }
        for work in std::mem::take(&mut self.works) {
            self.journal.unsure = true;
            match (&work.stage, &work.action) {
                (Stage::Undo(eni, _), _) => drop(cloud.abandoned.insert(Id(eni.0.clone()))),
                (_, Some(Action::Unassign { eni, blocks })) => {
                    if let Some(eni) = self.journal.enis.get_mut(eni) {
                        eni.blocks.retain(|block| !blocks.contains(block));
                    }
                }
                (_, Some(Action::ReleaseEni { eni })) => {
                    cloud.abandoned.insert(Id(eni.0.clone()));
                    if let Some(eni) = self.journal.enis.get_mut(eni) {
                        eni.custody = Custody::Unmanaged;
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes the answers that have come.
    pub(crate) fn work(&mut self, cloud: &mut Cloud, now: Time) {
        while let Some(at) = self.works.iter().position(|work| work.due <= now) {
            let work = self.works.remove(at);
            match self.judge(&work, cloud, now) {
                Next::Call(stage) => self.call(work.action, stage, 0, cloud, now),
                Next::Again if work.tries < TRIES => {
                    self.call(work.action, work.stage, work.tries + 1, cloud, now);
                }
                Next::Again => {
                    if let Stage::Undo(eni, _) = &work.stage {
                        cloud.abandoned.insert(Id(eni.0.clone()));
                    } else if let Some(Action::ReleaseEni { eni }) = &work.action {
                        cloud.abandoned.insert(Id(eni.0.clone()));
                    }
                    let refusal = Refusal { cause: Cause::Unavailable, said: "given up".into() };
                    self.finish(work.action.as_ref(), Err(refusal), cloud, now);
                }
                Next::Succeeded => self.finish(work.action.as_ref(), Ok(()), cloud, now),
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
                let refusal = Refusal { cause: Cause::Unavailable, said: "not attached".into() };
                Next::Call(Stage::Undo(eni.clone(), refusal))
            }
            (Stage::Undo(eni, refusal), _) if cloud.vpc.interface(&eni.0).is_err() => {
                self.journal.intents.remove(&device_index);
                Next::Refused(refusal.clone())
            }
            (Stage::Change, Ok(reply)) => self.changed(work.action.as_ref(), reply, cloud, now),
            (Stage::Change | Stage::Detach, Err(refused)) => {
                let unclear = matches!(refused.refusal.cause, Cause::Limit | Cause::Wrong);
                match refused.ambiguous || unclear {
                    true => Next::Call(Stage::Look(refused.refusal.clone())),
                    false => Next::Refused(refused.refusal.clone()),
                }
            }
            (Stage::Look(refusal), Ok(_)) => self.looked(work.action.as_ref(), refusal, cloud),
            (Stage::Detach, Ok(_)) => Next::Call(Stage::Vanish),
            (Stage::Vanish, _) => self.vanished(work, cloud),
            (Stage::Delete, _) if gone(work.action.as_ref(), cloud) => Next::Succeeded,
            (
                Stage::LookAttached(_)
                | Stage::Undo(..)
                | Stage::Look(_)
                | Stage::Delete
                | Stage::Create,
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
            && let Some(known) = self.known(interface, cloud)
        {
            cloud.abandoned.remove(eni.0.as_str());
            self.journal.enis.insert(eni.clone(), known);
            if !self.late_by.is_zero() {
                self.late.insert(eni.clone(), now + self.late_by);
            }
        }
        Next::Succeeded
    }

    fn changed(
        &mut self,
        action: Option<&Action>,
        reply: &Reply,
        cloud: &Cloud,
        now: Time,
    ) -> Next {
        if let Some(Action::Inspect { .. }) = action {
            self.look(cloud);
        }
        if let (Some(Action::CountFree { subnets }), Some(pool)) = (action, self.pool.as_mut()) {
            let free =
                |subnet: &String| Some((subnet.clone(), cloud.vpc.subnets().get(subnet)?.free()));
            pool.note_room(subnets.iter().filter_map(free), now);
        }
        let enis = &mut self.journal.enis;
        match (action, reply) {
            (Some(Action::Assign { eni, .. }), Reply::Assigned(fresh)) => {
                enis.get_mut(eni).expect("attached").blocks.extend(fresh);
            }
            (Some(Action::Unassign { eni, blocks }), _) => {
                enis.get_mut(eni).expect("attached").blocks.retain(|it| !blocks.contains(it));
            }
            (Some(Action::SetGroups { eni, groups }), _) => {
                enis.get_mut(eni).expect("attached").groups.clone_from(groups);
            }
            // It may have been given back meanwhile.
            (Some(Action::EndWithInstance { eni }), _) => {
                if let Some(eni) = enis.get_mut(eni) {
                    eni.lifetime = Lifetime::Instance;
                }
            }
            _ => {}
        }
        Next::Succeeded
    }

    fn looked(&mut self, action: Option<&Action>, refusal: &Refusal, cloud: &Cloud) -> Next {
        let before = self.journal.enis.clone();
        self.look(cloud);
        let enis = &self.journal.enis;
        let Some(action) = action else {
            // What the last daemon was detaching goes on doing so: look again.
            let ids = enis.keys().filter_map(|id| cloud.vpc.interface(&id.0).ok());
            let mut attachments = ids.filter_map(|it| it.attachment.as_ref());
            let leaves = attachments.any(|it| it.state == AttachmentState::Detaching);
            return if leaves { Next::Again } else { Next::Succeeded };
        };
        let done = match action {
            Action::AttachEni { .. } | Action::CountFree { .. } => false,
            Action::Inspect { eni } => {
                enis.get(eni).is_none_or(|eni| eni.custody != Custody::Unknown)
            }
            Action::EndWithInstance { eni } => {
                enis.get(eni).is_none_or(|eni| eni.lifetime == Lifetime::Instance)
            }
            Action::Assign { eni, amount } => match (before.get(eni), enis.get(eni)) {
                (Some(before), Some(after)) => {
                    let new = after.blocks.difference(&before.blocks).count();
                    refusal.cause == Cause::Unavailable && new >= amount.blocks()
                }
                _ => false,
            },
            Action::Unassign { eni, blocks } => {
                enis.get(eni).is_none_or(|eni| eni.blocks.is_disjoint(blocks))
            }
            Action::SetGroups { eni, groups } => {
                enis.get(eni).is_none_or(|eni| eni.groups == *groups)
            }
            Action::ReleaseEni { eni } => {
                let attachment = cloud.vpc.interface(&eni.0).ok().map(|it| it.attachment.as_ref());
                match attachment {
                    None => true,
                    Some(None) => return Next::Call(Stage::Vanish),
                    Some(Some(it)) if it.state == AttachmentState::Detaching => {
                        return Next::Call(Stage::Vanish);
                    }
                    Some(Some(_)) => false,
                }
            }
        };
        if done { Next::Succeeded } else { Next::Refused(refusal.clone()) }
    }

    fn vanished(&mut self, work: &Work, cloud: &Cloud) -> Next {
        let Some(Action::ReleaseEni { eni }) = &work.action else { return Next::Succeeded };
        let truth = cloud.vpc.interface(&eni.0).ok();
        if truth.is_some_and(|interface| interface.attachment.is_some()) {
            return Next::Again;
        }
        self.journal.enis.remove(eni);
        Next::Call(Stage::Delete)
    }

    fn call(
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
            Stage::LookAttached(_) | Stage::Look(_) => {
                cloud.call(now, number, "Describe", |_, _| Ok(Reply::Done))
            }
            Stage::Undo(eni, _) => cloud.call(now, number, "Delete", |vpc, at| {
                vpc.delete_network_interface(at, &eni.0).map(|()| Reply::Done)
            }),
            Stage::Detach | Stage::Delete | Stage::Change => {
                let action = action.as_ref().expect("these are of an action");
                let name = name(action, &stage);
                let deletes = matches!(stage, Stage::Delete);
                cloud.call(now, number, name, |vpc, at| apply(vpc, at, action, deletes))
            }
        };
        self.works.push(Work { action, stage, due: due + pause, answer, tries });
    }
}

fn name(action: &Action, stage: &Stage) -> &'static str {
    match action {
        Action::AttachEni { .. } => "Create",
        Action::Assign { .. } => "Assign",
        Action::Unassign { .. } => "Unassign",
        Action::SetGroups { .. } | Action::EndWithInstance { .. } => "Modify",
        Action::Inspect { .. } | Action::CountFree { .. } => "Describe",
        Action::ReleaseEni { .. } if matches!(stage, Stage::Delete) => "Delete",
        Action::ReleaseEni { .. } => "Detach",
    }
}

fn apply(
    vpc: &mut vpc_sim::vpc::Vpc,
    at: vpc_sim::vpc::Time,
    action: &Action,
    deletes: bool,
) -> Result<Reply, Ec2Error> {
    match action {
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
        Action::ReleaseEni { eni } if deletes => {
            vpc.delete_network_interface(at, &eni.0).map(|()| Reply::Done)
        }
        Action::ReleaseEni { eni } => {
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
    let Some(Action::ReleaseEni { eni }) = action else { return true };
    cloud.vpc.interface(&eni.0).is_err()
}
