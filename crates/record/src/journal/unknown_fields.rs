//! Fields that a newer daemon noted in records of kinds that this one knows: kept with what they
//! are about, and written again with it.

use super::record::Record;
use pool::Owner;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// The unknown fields of all that is on record. Empty, and free, but after a newer daemon.
#[derive(Debug, Default)]
pub(super) struct UnknownFields(BTreeMap<Subject, Value>);

/// What a record is about: a later record about the same takes its place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Attachment(Owner),
    Cooling(Ipv4Addr),
    Config,
    Intent(u32),
    Identity,
    Interface(String),
    RecentCalls(String),
    Discarded(String),
    Clock,
}

impl UnknownFields {
    /// Those that a record must be written with.
    pub(super) fn of(&self, record: &Record) -> Option<&Value> {
        if self.0.is_empty() {
            return None;
        }
        match record {
            // It is about what ends with it.
            Record::Released { .. } => None,
            Record::Assigned(attachment) => self.0.get(&Subject::Attachment(attachment.owner())),
            Record::Cooling { address, .. } => self.0.get(&Subject::Cooling(*address)),
            Record::Config(config) => config.as_ref().and_then(|_| self.0.get(&Subject::Config)),
            Record::Identity(_) => self.0.get(&Subject::Identity),
            Record::Clock(_) => self.0.get(&Subject::Clock),
            Record::Intent { device_index, now } => {
                now.as_ref().and_then(|_| self.0.get(&Subject::Intent(*device_index)))
            }
            Record::Interface { id, now } => {
                now.as_ref().and_then(|_| self.0.get(&Subject::Interface(id.clone())))
            }
            Record::RecentCalls { id, now } => {
                now.as_ref().and_then(|_| self.0.get(&Subject::RecentCalls(id.clone())))
            }
            Record::Discarded { id, open } => {
                open.then(|| self.0.get(&Subject::Discarded(id.clone()))).flatten()
            }
        }
    }

    /// Notes those of a record, in the place of those that the same thing had. What a release says
    /// is about its address from then on; `address` tells which one an owner holds.
    pub(super) fn note(
        &mut self,
        record: &Record,
        fields: Option<Value>,
        address: impl FnOnce(&Owner) -> Option<Ipv4Addr>,
    ) {
        if fields.is_none() && self.0.is_empty() {
            return;
        }
        let (subject, stays) = match record {
            Record::Released { network, container, interface, .. } => {
                let owner = Owner {
                    network: network.clone(),
                    container: container.clone(),
                    interface: interface.clone(),
                };
                let Some(address) = address(&owner) else { return };
                self.0.remove(&Subject::Attachment(owner));
                (Subject::Cooling(address), true)
            }
            Record::Assigned(attachment) => (Subject::Attachment(attachment.owner()), true),
            Record::Cooling { address, .. } => (Subject::Cooling(*address), true),
            Record::Config(config) => (Subject::Config, config.is_some()),
            Record::Identity(_) => (Subject::Identity, true),
            Record::Clock(_) => (Subject::Clock, true),
            Record::Intent { device_index, now } => (Subject::Intent(*device_index), now.is_some()),
            Record::Interface { id, now } => (Subject::Interface(id.clone()), now.is_some()),
            Record::RecentCalls { id, now } => (Subject::RecentCalls(id.clone()), now.is_some()),
            Record::Discarded { id, open } => (Subject::Discarded(id.clone()), *open),
        };
        match fields.filter(|_| stays) {
            Some(fields) => drop(self.0.insert(subject, fields)),
            None => drop(self.0.remove(&subject)),
        }
    }

    /// Forgets those of an address whose release is forgotten.
    pub(super) fn forget_cooling(&mut self, address: Ipv4Addr) {
        self.0.remove(&Subject::Cooling(address));
    }
}

/// The fields of `whole` that `known` has not, at any depth. The elements of an array have no names,
/// so there are none to know.
pub(super) fn beyond(whole: &Value, known: &Value) -> Option<Value> {
    let (Value::Object(whole), Value::Object(known)) = (whole, known) else { return None };
    let unknown = whole.iter().filter_map(|(name, value)| match known.get(name) {
        None => Some((name.clone(), value.clone())),
        Some(known) => Some((name.clone(), beyond(value, known)?)),
    });
    let unknown: Map<_, _> = unknown.collect();
    (!unknown.is_empty()).then_some(Value::Object(unknown))
}

/// Puts fields back where [`beyond`] found them.
pub(super) fn put_back(fields: &Value, into: &mut Value) {
    let (Value::Object(fields), Value::Object(into)) = (fields, into) else { return };
    for (name, field) in fields {
        match into.get_mut(name) {
            Some(known) => put_back(field, known),
            None => drop(into.insert(name.clone(), field.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_put_back_where_they_were() {
        let whole =
            json!({"id": "eni-1", "now": {"mac": "06", "speed": 9}, "why": ["x"], "n": null});
        let known = json!({"id": "eni-1", "now": {"mac": "06", "card": 0}});

        let unknown = beyond(&whole, &known).unwrap();
        let mut again = known;
        put_back(&unknown, &mut again);

        assert_eq!(unknown, json!({"now": {"speed": 9}, "why": ["x"], "n": null}));
        assert_eq!(
            again,
            json!({"id": "eni-1", "now": {"mac": "06", "card": 0, "speed": 9}, "why": ["x"], "n": null})
        );
    }

    #[test]
    fn fields_that_are_known_by_now_stay_as_they_are() {
        let mut record = json!({"id": "eni-1", "now": null});

        put_back(&json!({"id": "eni-2", "now": {"speed": 9}}), &mut record);

        assert_eq!(record, json!({"id": "eni-1", "now": null}));
    }

    #[test]
    fn where_nothing_is_unknown_nothing_is_kept() {
        assert_eq!(beyond(&json!({"a": {"b": 1}}), &json!({"a": {"b": 2}, "c": 3})), None);
    }
}
