//! Actions of a plan as they are carried out: the daemon's procedures, with calls that take time, fail, and
//! get lost, and a daemon that may die at each write to its record.

use crate::{
    cloud::{Cloud, described},
    node::Node,
};
use ipnetwork::Ipv4Network;
use net::Mac;
use pool::{Action, Amount, Block, EniId, RecentCalls, Refusal, Time};
use record::{Intent, Interface};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use steps::{
    Answer, Call, INSTANCE_TAG, Known, Listed, NewEni, NotNoted, Procedure, Refused, Reply, Shown,
    Step, Told, is_open,
};
use vpc::{
    Ec2Error, Vpc,
    assign::{Assigned, Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{Attribute, CreateInterface},
};

/// The pause before the metadata or EC2 are asked again for the comparison.
const PAUSE: Duration = Duration::from_secs(1);

/// What is under way.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) task: Task,
    pub(crate) due: Time,
    answer: Answer,
}

#[derive(Debug)]
pub(crate) enum Task {
    /// An action of the plan.
    Action(Action, Procedure),
    /// The record is compared with what EC2 lists, which was asked then.
    Compare { shown: Shown, begun: Time },
    /// The comparison is tried again.
    CompareAgain,
}

/// The node, as procedures know it.
pub(crate) struct OfNode<'a> {
    pub(crate) node: &'a mut Node,
    pub(crate) cloud: &'a Cloud,
    pub(crate) now: Time,
}

impl OfNode<'_> {
    /// A write to the record: it may fail, and the daemon may die before it.
    fn write(&mut self) -> Result<(), NotNoted> {
        if let Some(left) = &mut self.node.writes_left {
            if *left == 0 {
                self.node.dying = true;
            }
            *left = left.saturating_sub(1);
        }
        let full = self.node.record_full_until.is_some_and(|until| self.now < until);
        match self.node.dying || full {
            true => Err(NotNoted("the disk is full".into())),
            false => Ok(()),
        }
    }

    /// A change that is told, but no error, when it cannot be put on record: what runs on knows it, what
    /// comes after does not.
    fn change(&mut self, id: &EniId, change: impl FnOnce(Option<Interface>) -> Option<Interface>) {
        let on_record = self.write().is_ok();
        if self.node.dying {
            return;
        }
        let journal = &mut self.node.journal;
        let is = change(journal.interfaces.get(id).cloned());
        if !on_record {
            let before = journal.interfaces.get(id).cloned();
            journal.stale.entry(id.clone()).or_insert(before);
        } else {
            journal.stale.remove(id);
        }
        journal.set(id, is);
    }
}

impl Known for OfNode<'_> {
    fn instance(&self) -> &str {
        &self.node.instance.0
    }

    fn interfaces(&self) -> Vec<EniId> {
        self.node.journal.interfaces.keys().cloned().collect()
    }

    fn interface(&self, id: &EniId) -> Option<Interface> {
        self.node.journal.interfaces.get(id).cloned()
    }

    fn recent(&self, id: &EniId) -> RecentCalls {
        self.node.journal.recent.get(id).cloned().unwrap_or_default()
    }

    fn intent(&self, device_index: u32) -> Option<Intent> {
        self.node.journal.intents.get(&device_index).cloned()
    }

    fn carries(&self, id: &EniId) -> bool {
        self.node.pool.as_ref().expect("the daemon runs").carries(id)
    }

    fn subnet_cidr(&self, _: &str) -> Option<Ipv4Network> {
        None
    }

    fn new_tags(&self, _: &str) -> BTreeMap<String, String> {
        self.node.tagging.of_new([(INSTANCE_TAG, &self.node.instance.0)])
    }

    fn note(
        &mut self,
        id: &EniId,
        change: &mut dyn FnMut(&mut RecentCalls, Time),
    ) -> Result<(), NotNoted> {
        self.write()?;
        let (journal, now) = (&mut self.node.journal, self.now);
        change(journal.recent.entry(id.clone()).or_default(), now);
        let interfaces = &journal.interfaces;
        journal.recent.retain(|id, recent| {
            let added = matches!(recent.eni, Some((pool::Change::Added, _)));
            !recent.forget(interfaces.contains_key(id) || added, now)
        });
        Ok(())
    }

    fn set_intent(&mut self, device_index: u32, intent: Option<Intent>) -> Result<(), NotNoted> {
        self.write()?;
        let intents = &mut self.node.journal.intents;
        match intent {
            Some(intent) => drop(intents.insert(device_index, intent)),
            None => drop(intents.remove(&device_index)),
        }
        Ok(())
    }

    fn set_discarded(&mut self, id: &EniId, open: bool) -> Result<(), NotNoted> {
        self.write()?;
        let discarded = &mut self.node.journal.discarded;
        match open {
            true => discarded.insert(id.clone()),
            false => discarded.remove(id),
        };
        Ok(())
    }

    fn change_interface(&mut self, id: &EniId, change: &mut dyn FnMut(&mut Interface)) {
        self.change(id, |is| {
            is.map(|mut is| {
                change(&mut is);
                is
            })
        });
    }

    fn keep_interface(&mut self, id: &EniId, interface: Interface) {
        self.change(id, |_| Some(interface));
        if !self.node.late_by.is_zero() {
            self.node.late.insert(id.clone(), self.now + self.node.late_by);
        }
    }

    fn drop_interface(&mut self, id: &EniId) {
        self.change(id, |_| None);
    }

    fn leave_alone(&mut self, _: &EniId) {}

    fn let_go(&mut self, _: &EniId) {}

    fn has_device(&mut self, mac: Mac) -> bool {
        let attached = &self.cloud.vpc.instances()[&self.node.instance].interfaces;
        let mut there = attached.iter().filter_map(|id| self.cloud.vpc.interfaces().get(id));
        there.any(|it| {
            it.mac.0 == mac.0 && it.attachment.as_ref().is_some_and(|at| at.device_present)
        })
    }

    fn note_occupied(&mut self, _: &Listed) {}

    fn note_room(&mut self, free: Vec<(String, u32)>) {
        self.node.pool.as_mut().expect("the daemon runs").note_room(free, self.now);
    }

    fn tell(&mut self, _: Told<'_>) {}
}

impl Node {
    /// Carries out an action.
    pub(crate) fn begin(&mut self, action: Action, cloud: &mut Cloud, now: Time) {
        let procedure = Procedure::of(&action);
        self.go_on(action, procedure, Answer::Begin, cloud, now);
    }

    /// Takes the answers that have come.
    pub(crate) fn work(&mut self, cloud: &mut Cloud, now: Time) {
        while let Some(at) = self.works.iter().position(|work| work.due <= now) {
            let Work { task, answer, .. } = self.works.remove(at);
            match task {
                Task::Action(action, procedure) => {
                    self.go_on(action, procedure, answer, cloud, now);
                }
                Task::Compare { shown, begun } => self.listed(&shown, begun, answer, cloud, now),
                Task::CompareAgain => self.compare(cloud, now),
            }
        }
    }

    fn go_on(
        &mut self,
        action: Action,
        mut procedure: Procedure,
        answer: Answer,
        cloud: &mut Cloud,
        now: Time,
    ) {
        let step = procedure.next(answer, &mut OfNode { node: self, cloud, now }, now);
        if self.dies_now(cloud, now) {
            return;
        }
        match step {
            Step::Done(done) => self.ended(&action, done, cloud, now),
            Step::Wait(pause) => self.works.push(Work {
                task: Task::Action(action, procedure),
                due: now + pause,
                answer: Answer::Waited,
            }),
            Step::Call(call) => {
                let (answer, due) = self.call(call, cloud, now);
                let answer = answer.map_or_else(Answer::Refused, Answer::Reply);
                self.works.push(Work { task: Task::Action(action, procedure), due, answer });
            }
        }
    }

    /// Ends the daemon if it was to die at the last write.
    pub(crate) fn dies_now(&mut self, cloud: &mut Cloud, now: Time) -> bool {
        let dies = std::mem::take(&mut self.dying);
        if dies {
            cloud.meet("death at a write");
            self.writes_left = None;
            self.kill(Duration::from_secs(1), now);
        }
        dies
    }

    fn ended(&mut self, action: &Action, how: Result<(), Refusal>, cloud: &Cloud, now: Time) {
        self.observe(cloud, now);
        self.laws.finished(action);
        let open = is_open(action, &self.journal.intents, &self.journal.recent);
        let pool = self.pool.as_mut().expect("the daemon runs");
        match how {
            Ok(()) => {
                self.laws.succeeded(action);
                pool.succeeded(action);
            }
            Err(refusal) => {
                self.laws.refused(action, refusal.cause, now);
                match open {
                    true => pool.left_open(action, refusal, now),
                    false => pool.refused(action, refusal, now),
                }
            }
        }
    }

    fn call(&self, call: Call, cloud: &mut Cloud, now: Time) -> (Result<Reply, Refused>, Time) {
        let number = self.number;
        match call {
            Call::Describe(eni) => {
                let (found, due) = cloud.read(now, number, "Describe", |vpc, interfaces| {
                    interfaces.get(eni.0.as_str()).map(|it| Box::new(described(it, vpc)))
                });
                (found.map(Reply::Described), due)
            }
            Call::ListAttached => self.list(cloud, now),
            Call::CountFree(subnets) => {
                let (free, due) = cloud.read(now, number, "CountFree", |vpc, interfaces| {
                    let free = |id: &String| {
                        let subnet = vpc.subnets().get(id)?;
                        Some((id.clone(), subnet.free_beside(interfaces.values())))
                    };
                    subnets.iter().filter_map(free).collect()
                });
                (free.map(Reply::Free), due)
            }
            change @ (Call::Create(_)
            | Call::Attach { .. }
            | Call::Detach { .. }
            | Call::Delete(_)
            | Call::Assign { .. }
            | Call::Unassign { .. }
            | Call::SetGroups { .. }
            | Call::EndWithInstance { .. }
            | Call::Tag { .. }) => {
                let name = name(&change);
                cloud.call(now, number, name, |vpc, at| apply(vpc, at, change, &self.instance.0))
            }
        }
    }

    /// Interfaces that EC2 lists as attached.
    pub(crate) fn list(&self, cloud: &mut Cloud, now: Time) -> (Result<Reply, Refused>, Time) {
        let (listed, due) = cloud.read(now, self.number, "Describe", |vpc, interfaces| {
            let here = interfaces.values().filter(|interface| {
                let attachment = interface.attachment.as_ref();
                attachment.is_some_and(|at| at.instance_id == self.instance)
            });
            let interfaces = here.map(|it| described(it, vpc)).collect();
            Listed { interfaces, unreadable: vec![] }
        });
        (listed.map(Reply::Listed), due)
    }

    /// Asks EC2 what is attached, where the metadata show something else than the record.
    pub(crate) fn ask_what_is_attached(&mut self, shown: Shown, cloud: &mut Cloud, now: Time) {
        let (answer, due) = self.list(cloud, now);
        let answer = answer.map_or_else(Answer::Refused, Answer::Reply);
        self.works.push(Work { task: Task::Compare { shown, begun: now }, due, answer });
    }

    /// The comparison failed.
    pub(crate) fn compare_again(&mut self, now: Time) {
        self.works.push(Work {
            task: Task::CompareAgain,
            due: now + PAUSE,
            answer: Answer::Waited,
        });
    }

    fn listed(&mut self, shown: &Shown, begun: Time, answer: Answer, cloud: &mut Cloud, now: Time) {
        let Answer::Reply(Reply::Listed(listed)) = answer else { return self.compare_again(now) };
        let known = &mut OfNode { node: self, cloud, now };
        steps::take_over(&listed.interfaces, shown, begun, known);
        self.comparing = false;
        self.dies_now(cloud, now);
    }
}

/// The name of a call that changes something, as it is counted.
fn name(call: &Call) -> &'static str {
    match call {
        Call::Create(_) => "Create",
        Call::Attach { .. } => "Attach",
        Call::Detach { .. } => "Detach",
        Call::Delete(_) => "Delete",
        Call::Assign { .. } => "Assign",
        Call::Unassign { .. } => "Unassign",
        Call::SetGroups { .. } | Call::EndWithInstance { .. } => "Modify",
        Call::Tag { .. } => "Tag",
        Call::Describe(_) | Call::ListAttached | Call::CountFree(_) => "Describe",
    }
}

fn apply(vpc: &mut Vpc, at: vpc::Time, call: Call, instance: &str) -> Result<Reply, Ec2Error> {
    match call {
        Call::Create(new) => {
            let made = vpc.create_network_interface(at, &request(new))?.clone();
            Ok(Reply::Made(Box::new(described(&made, vpc))))
        }
        Call::Attach { eni, device_index } => {
            let request = Attach {
                interface_id: eni.0,
                instance_id: instance.into(),
                device_index,
                card_index: Some(0),
            };
            let attachment = vpc.attach_network_interface(at, &request)?;
            Ok(Reply::Attached(attachment.id.0.clone()))
        }
        Call::Detach { attachment } => {
            vpc.detach_network_interface(at, &attachment, Detach::Orderly).map(|_| Reply::Done)
        }
        Call::Delete(eni) => vpc.delete_network_interface(at, &eni.0).map(|()| Reply::Done),
        Call::Assign { eni, amount } => {
            let before = crate::node::blocks(vpc.interface(&eni.0)?);
            let wanted = match amount {
                Amount::Addresses(count) => Wanted::Count(count as u32),
                Amount::Prefixes(count) => Wanted::PrefixCount(count as u32),
            };
            vpc.assign_private_ip_addresses(at, &eni.0, &wanted, Reassignment::Refused)?;
            let after = crate::node::blocks(vpc.interface(&eni.0)?);
            Ok(Reply::Assigned(after.difference(&before).copied().collect()))
        }
        Call::Unassign { eni, blocks } => {
            vpc.unassign_private_ip_addresses(at, &eni.0, &assigned(&blocks)?).map(|()| Reply::Done)
        }
        Call::SetGroups { eni, groups } => {
            let attribute = Attribute::Groups(groups.into_iter().collect());
            vpc.modify_network_interface_attribute(at, &eni.0, &attribute).map(|()| Reply::Done)
        }
        Call::EndWithInstance { eni, attachment } => {
            let attribute =
                Attribute::DeleteOnTermination { attachment_id: attachment, value: true };
            vpc.modify_network_interface_attribute(at, &eni.0, &attribute).map(|()| Reply::Done)
        }
        Call::Tag { enis, tags } => {
            let resources: Vec<String> = enis.into_iter().map(|eni| eni.0).collect();
            vpc.create_tags(&resources, &tags).map(|()| Reply::Done)
        }
        Call::Describe(_) | Call::ListAttached | Call::CountFree(_) => {
            Err(Ec2Error::invalid("it changes nothing"))
        }
    }
}

fn request(new: NewEni) -> CreateInterface {
    let wanted = match (new.addresses, new.prefixes) {
        (addresses, 0) => Wanted::Count(addresses as u32),
        (_, prefixes) => Wanted::PrefixCount(prefixes as u32),
    };
    CreateInterface {
        subnet_id: new.subnet,
        groups: new.groups.into_iter().collect(),
        wanted,
        tags: new.tags,
        client_token: Some(new.client_token),
        ..CreateInterface::default()
    }
}

fn assigned(blocks: &BTreeSet<Block>) -> Result<Assigned, Ec2Error> {
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
    Ok(gone)
}
