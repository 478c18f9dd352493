//! Procedures one by one: what is on record when EC2 is called, and what an answer means.

use crate::{
    Answer, Call, Described, INSTANCE_TAG, Known, Listed, NotNoted, Procedure, Refused, Reply,
    Step, Told, is_open, leaves,
};
use ipnetwork::Ipv4Network;
use net::Mac;
use pool::{Action, Amount, Block, CONSISTENCY_WINDOW, EniId, RecentCalls, Time};
use record::{Intent, Interface, Origin};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const AT: Time = Time(Duration::from_secs(10_000));
const LATER: Time = Time(Duration::from_secs(10_005));

#[test]
fn what_is_given_back_is_off_record_before_ec2_is_called() {
    let mut node = Node::with([interface([5, 6])]);
    let blocks = BTreeSet::from([block(5)]);
    let unassign = Action::Unassign { eni: id(), blocks: blocks.clone() };
    let mut procedure = Procedure::of(&unassign);

    let step = procedure.next(Answer::Begin, &mut node, AT);

    assert_eq!(step, Step::Call(Call::Unassign { eni: id(), blocks }));
    assert_eq!(node.interfaces[&id()].blocks(), [block(6)].into());
    assert_eq!(node.recent(&id()).asked, Some(AT));
    // EC2 refuses: it is there again, and known to be.
    procedure.next(Answer::Refused(refused("InvalidParameterValue")), &mut node, AT);
    assert_eq!(node.interfaces[&id()].blocks(), [block(5), block(6)].into());
    assert_eq!(node.recent(&id()), RecentCalls::default());
}

#[test]
fn an_interface_that_leaves_is_on_record_as_such_before_detach_and_to_be_deleted_before_it_goes() {
    let mut node = Node::with([interface([])]);
    let mut procedure = Procedure::of(&release());

    procedure.next(Answer::Begin, &mut node, AT);
    let step = procedure.next(seen(Some("eni-attach-1")), &mut node, AT);

    assert_eq!(step, Step::Call(Call::Detach { attachment: "eni-attach-1".into() }));
    assert!(leaves(&node.recent(&id())) && node.discarded.is_empty());
    assert_eq!(procedure.next(Answer::Reply(Reply::Done), &mut node, AT), Step::Done(Ok(())));
    assert_eq!((node.interfaces.len(), node.discarded), (0, [id()].into()));
}

#[test]
fn a_refusal_of_detach_says_nothing_of_an_earlier_detach_while_lists_may_be_older() {
    for (after, stays) in [(Duration::from_secs(5), false), (CONSISTENCY_WINDOW, true)] {
        let mut node = Node::with([interface([])]);
        let mut first = Procedure::of(&release());
        first.next(Answer::Begin, &mut node, AT);
        first.next(seen(Some("eni-attach-1")), &mut node, AT);
        // The daemon ends before the answer. The next one is shown what was before.
        let mut next = Procedure::of(&release());
        next.next(Answer::Begin, &mut node, AT + after);
        next.next(seen(Some("eni-attach-1")), &mut node, AT + after);

        next.next(Answer::Refused(refused("UnauthorizedOperation")), &mut node, AT + after);

        assert_eq!(!leaves(&node.recent(&id())), stays, "{after:?}");
        assert_eq!(!is_open(&release(), &BTreeMap::new(), &node.recent), stays, "{after:?}");
    }
}

#[test]
fn a_list_that_is_older_than_attach_does_not_make_an_interface_detached() {
    let mut node = Node::with([interface([])]);
    let mut procedure = Procedure::of(&release());
    procedure.next(Answer::Begin, &mut node, AT);

    let step = procedure.next(seen(None), &mut node, AT);

    assert_eq!(step, Step::Call(Call::Detach { attachment: "eni-attach-1".into() }));
    let gone = refused("InvalidAttachmentID.NotFound");
    assert_eq!(procedure.next(Answer::Refused(gone), &mut node, AT), Step::Done(Ok(())));
    assert_eq!(node.discarded, [id()].into());
}

#[test]
fn a_call_leaves_an_older_one_that_was_not_answered_as_old_as_it_is() {
    let mut node = Node::with([interface([5])]);
    node.recent.entry(id()).or_default().ask(AT);
    node.now = LATER;
    let assign = Action::Assign { eni: id(), amount: Amount::Addresses(1) };
    let mut procedure = Procedure::of(&assign);

    procedure.next(Answer::Begin, &mut node, LATER);
    let step = procedure.next(seen(Some("eni-attach-1")), &mut node, LATER);

    assert!(matches!(step, Step::Call(Call::Assign { .. })), "{step:?}");
    // It may be the one that is not answered.
    assert_eq!(node.recent(&id()).asked, Some(LATER));
    procedure.next(Answer::Reply(Reply::Assigned([block(6)].into())), &mut node, LATER);
    assert_eq!(node.recent(&id()).asked, Some(AT));
}

#[test]
fn what_was_made_is_on_record_before_attach_and_is_not_judged_by_a_list_that_may_be_older() {
    let attach = Action::AttachEni {
        device_index: 1,
        subnet: "subnet-1".into(),
        groups: [].into(),
        amount: Amount::Addresses(1),
    };
    let mut node = Node::with([]);
    let mut first = Procedure::of(&attach);
    first.next(Answer::Begin, &mut node, AT);
    let made = Answer::Reply(Reply::Made(Box::new(described(None))));
    let step = first.next(made, &mut node, AT);
    assert_eq!(step, Step::Call(Call::Attach { eni: id(), device_index: 1 }));
    assert_eq!(node.intents[&1].made.as_ref().unwrap().id, id().0);
    // The daemon ends before the answer: EC2 may have attached it.
    for (after, given_up) in [(Duration::from_secs(5), false), (CONSISTENCY_WINDOW, true)] {
        let mut next = Procedure::of(&attach);
        next.next(Answer::Begin, &mut node, AT);
        let in_use = Answer::Refused(refused("InvalidParameterValue"));
        let step = next.next(in_use, &mut node, AT + after);
        assert_eq!(step, Step::Call(Call::Describe(id())));

        next.next(seen(None), &mut node, AT + after);

        assert_eq!((node.intents.is_empty(), node.discarded.contains(&id())), (given_up, given_up));
    }
}

#[test]
fn a_create_that_was_not_answered_is_repeated_with_the_same_token() {
    let attach = Action::AttachEni {
        device_index: 1,
        subnet: "subnet-1".into(),
        groups: [].into(),
        amount: Amount::Addresses(1),
    };
    let mut node = Node::with([]);
    let token = |node: &mut Node, now| {
        let step = Procedure::of(&attach).next(Answer::Begin, node, now);
        let Step::Call(Call::Create(new)) = step else { panic!("{step:?}") };
        new.client_token
    };

    let first = token(&mut node, AT);
    let again = token(&mut node, LATER);

    assert_eq!(first, again);
    // What EC2 does not even look at says nothing of the first one; what it looks at does.
    for (code, open) in [("UnauthorizedOperation", true), ("InvalidSubnetID.NotFound", false)] {
        let mut next = Procedure::of(&attach);
        next.next(Answer::Begin, &mut node, LATER);
        next.next(Answer::Refused(refused(code)), &mut node, LATER);
        assert_eq!(node.intents.contains_key(&1), open, "{code}");
    }
}

#[test]
fn what_cannot_be_put_on_record_is_not_done() {
    let attach = Action::AttachEni {
        device_index: 1,
        subnet: "subnet-1".into(),
        groups: [].into(),
        amount: Amount::Addresses(1),
    };
    let assign = Action::Assign { eni: id(), amount: Amount::Addresses(1) };
    let unassign = Action::Unassign { eni: id(), blocks: [block(5)].into() };
    for action in [attach, assign, unassign] {
        let mut node = Node { full: true, ..Node::with([interface([5])]) };

        let step = Procedure::of(&action).next(Answer::Begin, &mut node, AT);

        let Step::Done(Err(refusal)) = step else { panic!("{action}: {step:?}") };
        assert_eq!(refusal.message, "the disk is full");
        assert_eq!(node.interfaces[&id()].blocks(), [block(5)].into(), "{action}");
    }
}

/// What is known of a node, in memory.
#[derive(Default)]
struct Node {
    interfaces: BTreeMap<EniId, Interface>,
    recent: BTreeMap<EniId, RecentCalls>,
    intents: BTreeMap<u32, Intent>,
    discarded: BTreeSet<EniId>,
    /// Nothing can be put on record.
    full: bool,
    now: Time,
}

impl Node {
    fn with<const N: usize>(interfaces: [Interface; N]) -> Self {
        let interfaces = interfaces.map(|is| (id(), is)).into();
        Self { interfaces, now: AT, ..Self::default() }
    }

    fn write(&self) -> Result<(), NotNoted> {
        if self.full { Err(NotNoted("the disk is full".into())) } else { Ok(()) }
    }
}

impl Known for Node {
    fn instance(&self) -> &str {
        "i-1"
    }

    fn interfaces(&self) -> Vec<EniId> {
        self.interfaces.keys().cloned().collect()
    }

    fn interface(&self, id: &EniId) -> Option<Interface> {
        self.interfaces.get(id).cloned()
    }

    fn recent(&self, id: &EniId) -> RecentCalls {
        self.recent.get(id).cloned().unwrap_or_default()
    }

    fn intent(&self, device_index: u32) -> Option<Intent> {
        self.intents.get(&device_index).cloned()
    }

    fn carries(&self, _: &EniId) -> bool {
        false
    }

    fn subnet_cidr(&self, _: &str) -> Option<Ipv4Network> {
        None
    }

    fn new_tags(&self, _: &str) -> BTreeMap<String, String> {
        [(INSTANCE_TAG.into(), "i-1".into())].into()
    }

    fn note(
        &mut self,
        id: &EniId,
        change: &mut dyn FnMut(&mut RecentCalls, Time),
    ) -> Result<(), NotNoted> {
        self.write()?;
        change(self.recent.entry(id.clone()).or_default(), self.now);
        Ok(())
    }

    fn set_intent(&mut self, device_index: u32, intent: Option<Intent>) -> Result<(), NotNoted> {
        self.write()?;
        match intent {
            Some(intent) => drop(self.intents.insert(device_index, intent)),
            None => drop(self.intents.remove(&device_index)),
        }
        Ok(())
    }

    fn set_discarded(&mut self, id: &EniId, open: bool) -> Result<(), NotNoted> {
        self.write()?;
        if open {
            self.discarded.insert(id.clone());
        } else {
            self.discarded.remove(id);
        }
        Ok(())
    }

    fn change_interface(&mut self, id: &EniId, change: &mut dyn FnMut(&mut Interface)) {
        if let Some(is) = self.interfaces.get_mut(id) {
            change(is);
        }
    }

    fn keep_interface(&mut self, id: &EniId, interface: Interface) {
        self.interfaces.insert(id.clone(), interface);
    }

    fn drop_interface(&mut self, id: &EniId) {
        self.interfaces.remove(id);
    }

    fn leave_alone(&mut self, _: &EniId) {}

    fn let_go(&mut self, _: &EniId) {}

    fn has_device(&mut self, _: Mac) -> bool {
        false
    }

    fn note_occupied(&mut self, _: &Listed) {}

    fn note_room(&mut self, _: Vec<(String, u32)>) {}

    fn tell(&mut self, _: Told<'_>) {}
}

fn release() -> Action {
    Action::DeleteEni { eni: id() }
}

fn id() -> EniId {
    EniId("eni-1".into())
}

fn block(host: u8) -> Block {
    Block::Address([10, 0, 0, host].into())
}

fn interface<const N: usize>(hosts: [u8; N]) -> Interface {
    Interface {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        card: 0,
        device_index: 1,
        subnet: "subnet-1".into(),
        subnet_cidr: None,
        primary: [10, 0, 0, 1].into(),
        groups: [].into(),
        addresses: hosts.map(|host| [10, 0, 0, host].into()).into(),
        prefixes: [].into(),
        attachment: Some("eni-attach-1".into()),
        origin: Origin::Ours,
        outlives_instance: false,
        special_type: None,
        tags: BTreeMap::new(),
    }
}

fn described(attachment: Option<&str>) -> Described {
    Described {
        id: id().0,
        mac: Mac([2, 0, 0, 0, 0, 1]),
        primary: Some([10, 0, 0, 1].into()),
        special_type: None,
        blocks: [block(5)].into(),
        groups: [].into(),
        subnet: "subnet-1".into(),
        tags: [(INSTANCE_TAG.into(), "i-1".into())].into(),
        card: 0,
        attachment: attachment.map(|it| (it.into(), 1)),
        ends_with_instance: true,
    }
}

fn seen(attachment: Option<&str>) -> Answer {
    Answer::Reply(Reply::Described(Some(Box::new(described(attachment)))))
}

fn refused(code: &str) -> Refused {
    Refused { action: "X", code: code.into(), message: "no".into() }
}
