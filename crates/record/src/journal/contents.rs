//! What a journal's file holds, read without changing anything: what was readable, and what was not.

use super::{
    file,
    line::{self, Fault, Line},
    snapshot::Snapshot,
};
use crate::format::Format;
use pool::Time;
use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The format that this reader writes, and the newest whose every record it knows.
pub(super) const FORMAT: Format = Format { version: 3, reader: 2 };

/// Damages that a message names; there may be thousands.
const NAMED: usize = 3;

/// What a file holds. Nothing is decided here: who opens it does that.
#[derive(Debug)]
pub struct Contents {
    /// What the records that could be read add up to.
    pub snapshot: Snapshot,
    /// What the file says that it is.
    pub format: Format,
    /// Lines that could not be read, in their order.
    pub damages: Vec<Damage>,
    /// Records of kinds that are unknown here, in their order: they stay as they are.
    pub unknown: Vec<Unknown>,
    /// What a write that was cut off has left at the end.
    pub torn: Option<Torn>,
    pub(super) path: PathBuf,
    /// Records in the file.
    pub(super) records: usize,
    /// Bytes up to the end of the last record that is whole, without its newline if that is missing.
    pub(super) length: u64,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its number, from 1.
    pub line: usize,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// A record of a kind that this reader does not know: a newer daemon's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The number of its line, from 1.
    pub line: usize,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// The name of its kind.
    pub kind: String,
}

/// Bytes after the last newline: a write that a crash cut off, whose answer never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
    /// How many of them are a whole record, which counts; 0 when it is cut.
    pub whole: u64,
}

/// Why a journal could not be read at all.
#[derive(Debug)]
pub enum ReadError {
    /// The file is there, but the kernel does not give it.
    Io(PathBuf, io::Error),
    /// It is of a newer format, whose smallest reader is newer than this one. It is not damaged.
    NotUnderstood(PathBuf, Format),
}

impl Contents {
    /// Reads a file, which need not be there. Makes and changes nothing, so that it can be done
    /// beside a daemon that runs, and long after.
    ///
    /// # Errors
    /// See [`ReadError`]. Damage is none.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            // Whatever it is doing there: it is no record.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => vec![],
            read => read.map_err(|error| ReadError::Io(path.into(), error))?,
        };
        let contents = Self::of(path, &bytes);
        if contents.format.is_understood_by(FORMAT.version) {
            Ok(contents)
        } else {
            Err(ReadError::NotUnderstood(path.into(), contents.format))
        }
    }

    /// Sets a damaged file aside as `journal.damaged-TIME`, in seconds since 1970, and writes a new
    /// one of what was readable. The new one takes the old one's place at once: after a crash there
    /// is one of both.
    ///
    /// # Errors
    /// What the kernel says; the damaged file is still in its place then, and these are its contents.
    pub fn set_damage_aside(&mut self, now: Time) -> anyhow::Result<PathBuf> {
        let aside = file::keep_aside(&self.path, file::DAMAGED, now)?;
        let length = file::write_anew(&self.path, &self.snapshot, FORMAT)?.length();
        (self.damages, self.torn, self.format) = (vec![], None, FORMAT);
        (self.records, self.length) = (self.snapshot.count(), length);
        Ok(aside)
    }

    /// What bytes hold.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Self {
        let mut contents = Self {
            snapshot: Snapshot::default(),
            format: Format::FIRST,
            damages: vec![],
            unknown: vec![],
            torn: None,
            path: path.into(),
            records: 0,
            length: 0,
        };
        let mut offset = 0;
        for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            match line.strip_suffix(b"\n") {
                Some(whole) => {
                    if let Err(fault) = contents.take(whole, number, offset) {
                        contents.damages.push(Damage { line: number, offset, fault });
                    }
                    contents.length = offset + line.len() as u64;
                }
                None => contents.take_tail(line, number, offset),
            }
            offset += line.len() as u64;
        }
        contents
    }

    fn take(&mut self, bytes: &[u8], line: usize, offset: u64) -> Result<(), Fault> {
        // It says nothing, and there is nothing to lose in it.
        if bytes.is_empty() {
            return Ok(());
        }
        match line::decode(bytes)? {
            Line::Format(format) => {
                // Of two files that were put together, the one that asks for more counts.
                self.format.version = self.format.version.max(format.version);
                self.format.reader = self.format.reader.max(format.reader);
                return Ok(());
            }
            Line::Record(record, unknown) => self.snapshot.take(*record, unknown),
            Line::Unknown(kind) => {
                let text = String::from_utf8(bytes.into()).map_err(|_| Fault::NotText)?;
                self.snapshot.unknown_lines.push(text);
                self.unknown.push(Unknown { line, offset, kind });
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Takes what follows the last newline. A whole record counts, whether its newline was never
    /// written or became something else: to forget an address that a pod may hold is worse than to
    /// keep one whose pod was never told.
    fn take_tail(&mut self, bytes: &[u8], line: usize, offset: u64) {
        let mut whole = 0;
        for tail in [bytes, &bytes[..bytes.len() - 1]] {
            match self.take(tail, line, offset) {
                Ok(()) => whole = tail.len() as u64,
                Err(Fault::NotText | Fault::NoChecksum | Fault::WrongChecksum) => continue,
                // A checksum that is right was written by nobody's crash.
                Err(fault @ (Fault::NotJson(_) | Fault::NotThatKind(_))) => {
                    self.damages.push(Damage { line, offset, fault });
                }
            }
            break;
        }
        if whole > 0 {
            self.length = offset + whole;
        }
        self.torn = Some(Torn { offset, bytes: bytes.len() as u64, whole });
    }

    /// The damages, for people; `None` without any.
    pub fn damages_in_words(&self) -> Option<String> {
        let named = self.damages.iter().take(NAMED).map(ToString::to_string);
        let named = named.collect::<Vec<_>>().join(", ");
        match self.damages.len() {
            0 => None,
            count if count > NAMED => Some(format!("{named} and {} more", count - NAMED)),
            _ => Some(named),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} at byte {} ({})", self.line, self.offset, self.fault)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, _) => write!(f, "read {}", path.display()),
            Self::NotUnderstood(path, Format { version, reader }) => write!(
                f,
                "understand {}: it is of format {version}, for readers of format {reader} on; \
                 this one reads format {}: start the version that wrote it, or a newer one",
                path.display(),
                FORMAT.version
            ),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::NotUnderstood(..) => None,
        }
    }
}
