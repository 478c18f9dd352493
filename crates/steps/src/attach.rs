//! Attaches a new interface: on record first, then Create and Attach.

use crate::{
    Answer, Call, Described, Known, NewEni, NotNoted, Refused, Reply, Step, Told, fail, leaves,
    odd, refuse, settle::note, whose::interface,
};
use pool::{Amount, CONSISTENCY_WINDOW, Cause, Change, EniId, Time};
use record::{Intent, Interface, Made, stamp::rfc3339};
use sha1::{Digest, Sha1};
use std::{collections::BTreeSet, time::UNIX_EPOCH};

/// Makes and attaches an interface.
#[derive(Clone, Debug)]
pub(crate) struct Attach {
    device_index: u32,
    subnet: String,
    groups: BTreeSet<String>,
    amount: Amount,
    /// Calls may have been made for it before.
    again: bool,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    New,
    Creating,
    /// A call before may have attached it.
    Looking,
    Attaching,
    /// Attach was refused, which says nothing of an Attach before it.
    Judging(Refused, Time),
    /// EC2 counts what is not known.
    Learning(Refused),
}

impl Attach {
    pub(crate) fn new(
        device_index: u32,
        subnet: String,
        groups: BTreeSet<String>,
        amount: Amount,
    ) -> Self {
        Self { device_index, subnet, groups, amount, again: false, state: State::New }
    }

    pub(crate) fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
        let intent = match &self.state {
            State::Learning(refused) => return learned(refused, answer, known, now),
            State::New => self.intent(known, now),
            State::Creating | State::Looking | State::Attaching | State::Judging(..) => {
                let intent = known.intent(self.device_index);
                intent.ok_or_else(|| NotNoted("it is not on record any more".into()))
            }
        };
        let intent = match intent {
            Ok(intent) => intent,
            Err(error) => return fail(error),
        };
        let state = std::mem::replace(&mut self.state, State::New);
        match (state, answer) {
            (State::New, Answer::Begin) => self.begin(intent, known, now),
            (State::Creating, Answer::Reply(Reply::Made(eni))) => self.made(intent, &eni, known),
            (State::Creating, Answer::Refused(refused)) => self.not_made(refused, known),
            (State::Looking, Answer::Reply(Reply::Described(eni))) => {
                match eni.as_deref().and_then(attachment) {
                    Some((eni, attachment)) => self.attached(&intent, eni, attachment, known, now),
                    None => self.attach(&intent),
                }
            }
            (State::Attaching, Answer::Reply(Reply::Attached(attachment))) => {
                let Some(made) = &intent.made else { return fail("nothing was made") };
                let interface =
                    Interface { attachment: Some(attachment), ..made.interface.clone() };
                self.keep(&intent, &EniId(made.id.clone()), interface, known, now)
            }
            (State::Attaching, Answer::Refused(refused)) => {
                self.not_attached(intent, refused, known, now)
            }
            (State::Judging(refused, at), Answer::Reply(Reply::Described(eni))) => {
                let is_known = intent
                    .made
                    .as_ref()
                    .is_none_or(|made| made.is_conclusive(at, CONSISTENCY_WINDOW));
                match eni.as_deref().and_then(attachment) {
                    Some((eni, attachment)) => self.attached(&intent, eni, attachment, known, now),
                    None if is_known => self.give_up(&intent, refused, known),
                    None => refuse(&refused),
                }
            }
            (State::Looking | State::Judging(..), Answer::Refused(refused)) => refuse(&refused),
            (_, answer) => odd(&answer),
        }
    }

    /// What is about to be made, on record first. What is on record already goes first: then EC2
    /// answers with what the first call made, and nothing is left over.
    fn intent(&mut self, known: &mut dyn Known, now: Time) -> Result<Intent, NotNoted> {
        if let Some(intent) = known.intent(self.device_index) {
            self.again = true;
            return Ok(intent);
        }
        let created_at = rfc3339(UNIX_EPOCH + now.0);
        let seed = format!("{} {} {}", known.instance(), now.0.as_nanos(), self.device_index);
        let (addresses, prefixes) = match self.amount {
            Amount::Addresses(count) => (count, 0),
            Amount::Prefixes(count) => (0, count),
        };
        let intent = Intent {
            token: Sha1::digest(seed).iter().map(|byte| format!("{byte:02x}")).collect(),
            tags: known.new_tags(&created_at),
            created_at,
            device_index: self.device_index,
            subnet: self.subnet.clone(),
            groups: self.groups.clone(),
            addresses,
            prefixes,
            made: None,
        };
        known.set_intent(self.device_index, Some(intent.clone()))?;
        Ok(intent)
    }

    fn begin(&mut self, mut intent: Intent, known: &mut dyn Known, now: Time) -> Step {
        if let Some(made) = &mut intent.made {
            // Who was here before may have called Attach, and did not hear what became of it.
            return match made.asked_ms {
                Some(_) => self.attach(&intent),
                None => self.ask(intent, known, now),
            };
        }
        self.state = State::Creating;
        // An older daemon did not note the tags.
        let tags = if intent.tags.is_empty() {
            known.new_tags(&intent.created_at)
        } else {
            intent.tags.clone()
        };
        Step::Call(Call::Create(NewEni {
            subnet: intent.subnet.clone(),
            groups: intent.groups.clone(),
            addresses: intent.addresses,
            prefixes: intent.prefixes,
            tags,
            client_token: intent.token.clone(),
        }))
    }

    fn made(&mut self, mut intent: Intent, eni: &Described, known: &mut dyn Known) -> Step {
        let id = EniId(eni.id.clone());
        let Some(mut interface) = interface(eni, None, self.device_index, known.instance()) else {
            let message = format!("EC2 made {id} without an IPv4 address");
            return self.give_up_made(&id, Refused::odd("CreateNetworkInterface", message), known);
        };
        interface.tags.extend(intent.tags.clone());
        intent.made = Some(Made { id: eni.id.clone(), interface, asked_ms: None });
        if let Err(error) = known.set_intent(self.device_index, Some(intent.clone())) {
            return fail(error);
        }
        if self.again {
            // A repeated Create answers with the interface as it was made; since then it may have been
            // attached, and have got more addresses.
            self.state = State::Looking;
            return Step::Call(Call::Describe(id));
        }
        self.attach(&intent)
    }

    fn not_made(&mut self, refused: Refused, known: &mut dyn Known) -> Step {
        // A refusal of the first call says that nothing was made. Later, only one of the request itself
        // does: EC2 may have refused to look.
        let silent = match refused.cause() {
            Cause::Unavailable => true,
            Cause::Throttled | Cause::Denied => self.again,
            Cause::NoAddresses
            | Cause::NoPrefixes
            | Cause::PrefixesUnsupported
            | Cause::Limit
            | Cause::Wrong => false,
        };
        if !silent && let Err(error) = known.set_intent(self.device_index, None) {
            return fail(error);
        }
        self.learn_why(refused)
    }

    fn attach(&mut self, intent: &Intent) -> Step {
        let Some(made) = &intent.made else { return fail("nothing was made") };
        self.state = State::Attaching;
        let eni = EniId(made.id.clone());
        Step::Call(Call::Attach { eni, device_index: self.device_index })
    }

    /// Calls Attach, which may have been called before.
    fn ask(&mut self, mut intent: Intent, known: &mut dyn Known, now: Time) -> Step {
        if let Some(made) = &mut intent.made {
            made.ask(now);
        }
        match known.set_intent(self.device_index, Some(intent.clone())) {
            Ok(()) => self.attach(&intent),
            Err(error) => fail(error),
        }
    }

    fn not_attached(
        &mut self,
        mut intent: Intent,
        refused: Refused,
        known: &mut dyn Known,
        now: Time,
    ) -> Step {
        match refused.cause() {
            Cause::Unavailable => {
                if let Some(made) = &mut intent.made {
                    made.ask(now);
                }
                match known.set_intent(self.device_index, Some(intent)) {
                    Ok(()) => refuse(&refused),
                    Err(error) => fail(error),
                }
            }
            // It is worth waiting for: to begin anew costs more calls.
            Cause::Throttled => refuse(&refused),
            Cause::NoAddresses
            | Cause::NoPrefixes
            | Cause::PrefixesUnsupported
            | Cause::Limit
            | Cause::Denied
            | Cause::Wrong => match &intent.made {
                Some(made) if self.again => {
                    self.state = State::Judging(refused, now);
                    Step::Call(Call::Describe(EniId(made.id.clone())))
                }
                _ => self.give_up(&intent, refused, known),
            },
        }
    }

    fn attached(
        &self,
        intent: &Intent,
        eni: &Described,
        attachment: &str,
        known: &mut dyn Known,
        now: Time,
    ) -> Step {
        let id = EniId(eni.id.clone());
        match interface(eni, Some(attachment), self.device_index, known.instance()) {
            Some(is) => self.keep(intent, &id, is, known, now),
            None => fail(format_args!("{id} has no IPv4 address any more")),
        }
    }

    /// The interface is attached.
    fn keep(
        &self,
        intent: &Intent,
        id: &EniId,
        mut interface: Interface,
        known: &mut dyn Known,
        now: Time,
    ) -> Step {
        let (device_index, blocks) = (self.device_index, interface.blocks());
        known.tell(Told::Attached { eni: id, device_index, blocks: blocks.len() });
        // When this is a repetition, pods may have addresses of it already, or it was found in a list
        // and given back since.
        if is_new(id, known, now) {
            interface.subnet_cidr = known.subnet_cidr(&interface.subnet);
            interface.tags.extend(intent.tags.clone());
            note(id, known, |recent, now| {
                recent.eni = Some((Change::Added, now));
                recent.changed(Change::Added, &blocks, now);
            });
            known.keep_interface(id, interface);
        }
        // Not before the interface is on record; that it ends with its instance is planned apart,
        // as pods do not wait for it.
        match known.set_intent(self.device_index, None) {
            Ok(()) => Step::Done(Ok(())),
            Err(error) => fail(error),
        }
    }

    fn give_up(&mut self, intent: &Intent, refused: Refused, known: &mut dyn Known) -> Step {
        match &intent.made {
            Some(made) => self.give_up_made(&EniId(made.id.clone()), refused, known),
            None => self.learn_why(refused),
        }
    }

    /// What was made is of no use.
    fn give_up_made(&mut self, id: &EniId, refused: Refused, known: &mut dyn Known) -> Step {
        let noted = known.set_discarded(id, true);
        match noted.and_then(|()| known.set_intent(self.device_index, None)) {
            Ok(()) => self.learn_why(refused),
            Err(error) => fail(error),
        }
    }

    /// Somebody else attached something, or the metadata service was late when we asked it.
    fn learn_why(&mut self, refused: Refused) -> Step {
        if !refused.counts_what_is_not_known() {
            return refuse(&refused);
        }
        self.state = State::Learning(refused);
        Step::Call(Call::ListAttached)
    }
}

/// An interface that is attached, and its attachment.
fn attachment(eni: &Described) -> Option<(&Described, &str)> {
    eni.attachment.as_ref().map(|(attachment, _)| (eni, attachment.as_str()))
}

/// Takes over what EC2 lists, if it does; the refusal that made us ask stays one.
fn learned(refused: &Refused, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
    if let Answer::Reply(Reply::Listed(listed)) = answer {
        known.note_occupied(&listed);
        listed.interfaces.iter().for_each(|eni| learn(eni, known, now));
    }
    refuse(refused)
}

/// Takes over what EC2 says is attached.
fn learn(eni: &Described, known: &mut dyn Known, now: Time) {
    let id = EniId(eni.id.clone());
    let Some((attachment, device_index)) = eni.attachment.clone() else { return };
    if !is_new(&id, known, now) {
        return;
    }
    let is = interface(eni, Some(&attachment), device_index, known.instance());
    let Some(mut is) = is else { return };
    known.tell(Told::Found { eni: &id, device_index });
    is.subnet_cidr = known.subnet_cidr(&is.subnet);
    known.keep_interface(&id, is);
}

/// Whether an interface that EC2 calls attached is one that nobody knows.
fn is_new(id: &EniId, known: &dyn Known, now: Time) -> bool {
    let mut recent = known.recent(id);
    // What was given back may be listed for a while, and not longer.
    recent.forget(false, now);
    !leaves(&recent) && known.interface(id).is_none()
}
