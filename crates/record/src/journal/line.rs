//! One line of the journal: `CHECKSUM JSON`, where the checksum is the CRC-32 of the JSON in eight
//! hexadecimal digits.

use super::{
    record::Record,
    unknown_fields::{beyond, put_back},
};
use crate::format::Format;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// What a whole line says.
#[derive(Debug)]
pub(super) enum Line {
    /// Which format the file is of.
    Format(Format),
    /// A record, and its fields that this reader does not know.
    Record(Box<Record>, Option<Value>),
    /// A record of a kind that this reader does not know, by its name.
    Unknown(String),
}

/// Why a line is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no text.
    NotText,
    /// It does not begin with a checksum.
    NoChecksum,
    /// Its checksum is that of something else.
    WrongChecksum,
    /// Its checksum is right, but it is no JSON.
    NotJson(String),
    /// Its checksum is right and its kind is known, but not what it says.
    NotThatKind(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => write!(f, "not UTF-8"),
            Self::NoChecksum => write!(f, "no checksum"),
            Self::WrongChecksum => write!(f, "wrong checksum"),
            Self::NotJson(error) | Self::NotThatKind(error) => write!(f, "{error}"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct FormatLine {
    format: Format,
}

/// The line that says which format a file is of.
pub(super) fn of_format(format: Format) -> serde_json::Result<String> {
    Ok(with_checksum(&serde_json::to_string(&FormatLine { format })?))
}

/// The line of a record, with the fields that a newer daemon noted about the same.
pub(super) fn encode(record: &Record, unknown: Option<&Value>) -> serde_json::Result<String> {
    let json = match unknown {
        None => serde_json::to_string(record)?,
        Some(unknown) => {
            let mut whole = serde_json::to_value(record)?;
            if let Some(said) = whole.as_object_mut().and_then(|kinds| kinds.values_mut().next()) {
                put_back(unknown, said);
            }
            whole.to_string()
        }
    };
    Ok(with_checksum(&json))
}

fn with_checksum(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// Understands a line without its newline.
pub(super) fn decode(line: &[u8]) -> Result<Line, Fault> {
    let json = checked(line)?;
    let error = match serde_json::from_str::<Record>(json) {
        Ok(record) => return Ok(with_unknown_fields(record, json)),
        Err(error) => error,
    };
    let whole: Value =
        serde_json::from_str(json).map_err(|error| Fault::NotJson(error.to_string()))?;
    let kind = whole.as_object().and_then(|kinds| kinds.keys().next()).map_or("", String::as_str);
    match kind {
        "format" => {
            let line = FormatLine::deserialize(&whole);
            line.map(|line| Line::Format(line.format))
                .map_err(|error| Fault::NotThatKind(error.to_string()))
        }
        known if Record::KINDS.contains(&known) => Err(Fault::NotThatKind(error.to_string())),
        unknown => Ok(Line::Unknown(unknown.to_owned())),
    }
}

/// The JSON of a line whose checksum is right.
fn checked(line: &[u8]) -> Result<&str, Fault> {
    let line = std::str::from_utf8(line).map_err(|_| Fault::NotText)?;
    let (checksum, json) = line.split_once(' ').ok_or(Fault::NoChecksum)?;
    let checksum = u32::from_str_radix(checksum, 16).map_err(|_| Fault::NoChecksum)?;
    if checksum == crc32fast::hash(json.as_bytes()) { Ok(json) } else { Err(Fault::WrongChecksum) }
}

fn with_unknown_fields(record: Record, json: &str) -> Line {
    // What this daemon wrote needs no second look.
    let ours = serde_json::to_string(&record).is_ok_and(|ours| ours == json);
    let unknown = if ours { None } else { unknown_fields(&record, json) };
    Line::Record(Box::new(record), unknown)
}

fn unknown_fields(record: &Record, json: &str) -> Option<Value> {
    let whole = serde_json::from_str(json).ok()?;
    let known = serde_json::to_value(record).ok()?;
    // Below the name of the kind.
    beyond(&whole, &known)?.as_object()?.values().next().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_says_why() {
        check(b"\xff", &Fault::NotText);
        check(b"0123", &Fault::NoChecksum);
        check(b"xyz {}", &Fault::NoChecksum);
        check(b"00000001 {}", &Fault::WrongChecksum);
        check(with_checksum("{").trim_end().as_bytes(), &Fault::NotJson(String::new()));
        check(
            with_checksum(r#"{"resting":{"address":"::1","since_ms":0}}"#).trim_end().as_bytes(),
            &Fault::NotThatKind(String::new()),
        );
        check(
            with_checksum(r#"{"format":{"version":"two"}}"#).trim_end().as_bytes(),
            &Fault::NotThatKind(String::new()),
        );
    }

    #[test]
    fn a_record_of_an_unknown_kind_is_no_damage() {
        for (json, kind) in [(r#"{"card":{"index":1}}"#, "card"), (r#""reset""#, ""), ("[1]", "")] {
            let line = with_checksum(json);

            let read = decode(line.trim_end().as_bytes());

            assert!(matches!(&read, Ok(Line::Unknown(of)) if of == kind), "{json}: {read:?}");
        }
    }

    #[track_caller]
    fn check(line: &[u8], want: &Fault) {
        let fault = decode(line).unwrap_err();

        let same = std::mem::discriminant(&fault) == std::mem::discriminant(want);
        assert!(same, "{fault:?} instead of {want:?}");
    }
}
