//! The fields of the built-in kinds: their names, types, numbers in protobuf, and how lists are merged.

use std::{collections::BTreeMap, sync::LazyLock};

/// The table, which is read once.
const TABLE: &str = include_str!("fields.txt");

static MESSAGES: LazyLock<BTreeMap<&'static str, Message>> = LazyLock::new(|| parse(TABLE));

/// The fields of an object.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its name, such as `PodSpec`.
    pub(crate) name: &'static str,
    /// In the order of the table.
    pub(crate) fields: Vec<Field>,
}

/// A field.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name; [`INLINE`] when its own fields stand in the message.
    pub(crate) name: &'static str,
    /// Its number in protobuf.
    pub(crate) number: u64,
    /// How many there are of its type.
    pub(crate) shape: Shape,
    /// What it is.
    pub(crate) kind: Type,
    /// A zero differs from nothing.
    pub(crate) optional: bool,
}

/// The name of a field that is no object of its own in JSON.
pub(crate) const INLINE: &str = ".";

/// How many there are of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One.
    One,
    /// A list, and how a strategic merge matches its elements.
    List(Merge),
    /// A map by text.
    Map,
}

/// What a strategic merge does with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// It is replaced.
    Replace,
    /// Elements are matched by this field of theirs.
    By(&'static str),
    /// Elements are values, of which each is there once.
    Unite,
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Int32,
    Int64,
    Bool,
    Bytes,
    /// RFC 3339 in seconds.
    Time,
    /// RFC 3339 in microseconds.
    MicroTime,
    /// A number with a unit.
    Quantity,
    /// A number or a text.
    IntOrText,
    /// Any JSON.
    Raw,
    /// An object.
    Message(&'static str),
}

/// A message by its name.
pub(crate) fn message(name: &str) -> &'static Message {
    MESSAGES.get(name).expect("the table has every message that it names")
}

impl Message {
    /// A field as it is in JSON, and the message in which it is defined.
    pub(crate) fn field(&'static self, name: &str) -> Option<(&'static Self, &'static Field)> {
        self.in_json().find(|(_, field)| field.name == name)
    }

    /// All fields as they are in JSON, each with the message in which it is defined.
    pub(crate) fn in_json(
        &'static self,
    ) -> Box<dyn Iterator<Item = (&'static Self, &'static Field)>> {
        Box::new(self.fields.iter().flat_map(move |field| {
            match field.kind.message().filter(|_| field.name == INLINE) {
                Some(inlined) => inlined.in_json(),
                None => Box::new(std::iter::once((self, field))),
            }
        }))
    }
}

impl Type {
    /// The message that it is, if it is one.
    pub(crate) fn message(self) -> Option<&'static Message> {
        if let Self::Message(name) = self { Some(message(name)) } else { None }
    }

    fn parse(name: &'static str) -> Self {
        match name {
            "string" => Self::Text,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "Time" => Self::Time,
            "MicroTime" => Self::MicroTime,
            "Quantity" => Self::Quantity,
            "IntOrString" => Self::IntOrText,
            "FieldsV1" => Self::Raw,
            message => Self::Message(message),
        }
    }

    /// As Go names it.
    pub(crate) fn in_go(self) -> String {
        match self {
            Self::Text => "string".into(),
            Self::Int32 => "int32".into(),
            Self::Int64 => "int64".into(),
            Self::Bool => "bool".into(),
            Self::Bytes => "[]uint8".into(),
            Self::Time => "v1.Time".into(),
            Self::MicroTime => "v1.MicroTime".into(),
            Self::Quantity => "resource.Quantity".into(),
            Self::IntOrText => "intstr.IntOrString".into(),
            Self::Raw => "v1.FieldsV1".into(),
            Self::Message(name) => format!("v1.{}", name.trim_start_matches("New")),
        }
    }
}

fn parse(table: &'static str) -> BTreeMap<&'static str, Message> {
    let mut messages: Vec<Message> = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if !line.starts_with(' ')
            && let Some(name) = words.next()
        {
            messages.push(Message { name, fields: Vec::new() });
        }
        if let Some(last) = messages.last_mut() {
            last.fields.extend(words.filter_map(parse_field));
        }
    }
    messages.into_iter().map(|it| (it.name, it)).collect()
}

fn parse_field(word: &'static str) -> Option<Field> {
    let mut parts = word.splitn(3, ':');
    let (name, number, kind) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let (shape, kind) = match kind.split_once([']', '}']) {
        None => (Shape::One, kind),
        Some(("{", kind)) => (Shape::Map, kind),
        Some(("[", kind)) => (Shape::List(Merge::Replace), kind),
        Some(("[=", kind)) => (Shape::List(Merge::Unite), kind),
        Some((key, kind)) => (Shape::List(Merge::By(key.trim_start_matches('['))), kind),
    };
    let optional = kind.ends_with('?');
    Some(Field { name, number, shape, kind: Type::parse(kind.trim_end_matches('?')), optional })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_table_is_a_field_of_a_type_that_exists() {
        let words =
            TABLE.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
        let fields = MESSAGES.values().map(|it| it.fields.len()).sum::<usize>();

        assert_eq!(words.count(), fields + MESSAGES.values().count());
        for field in MESSAGES.values().flat_map(|it| &it.fields) {
            if let Type::Message(name) = field.kind {
                assert!(!message(name).fields.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn inlined_fields_stand_in_the_message() {
        let (within, field) = message("Volume").field("hostPath").unwrap();

        assert_eq!(
            (within.name, field.kind),
            ("VolumeSource", Type::Message("HostPathVolumeSource"))
        );
    }
}
