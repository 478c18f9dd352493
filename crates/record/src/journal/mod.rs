//! What must survive a restart: an append-only file of records, each with a checksum.
//!
//! One line is one record: the CRC-32 of the JSON in eight hexadecimal digits, a space, the JSON, a
//! newline. The JSON is an object with one field, whose name is the kind of the record. The first
//! line names the format of the file and the smallest version whose readers understand it
//! ([`Format`](crate::Format)). A pod came, one went, an interface is being made (shortened):
//!
//! ```text
//! 3124c3e1 {"format":{"version":3,"reader":2}}
//! fa54448e {"identity":{"instance":"i-1","instance_type":"m5.large",…}}
//! e4bc2eb9 {"resting":{"address":"10.0.0.1","since_ms":5000}}
//! d3f0287a {"assigned":{"network":"aws-cni","container":"container-3",…,"address":"10.0.0.3",…}}
//! b7978f89 {"released":{"network":"aws-cni","container":"container-7","interface":"eth0","at_ms":6000}}
//! a36122bd {"intent":{"device_index":2,"now":{"token":"token",…}}}
//! ```
//!
//! What a reader makes of a file:
//!
//! - **A file that does not name its format** is of format 1. Its records are those of format 2.
//!   Format 3 has `discarded` and `clock` besides, and what an intent has made.
//! - **A newer format** is read if its smallest reader is not newer than this one; otherwise it is not
//!   understood, which is no damage ([`ReadError::NotUnderstood`]).
//! - **A record of an unknown kind** stays in the file as it is, behind those that are known, and is
//!   told. So do **unknown fields** of known kinds, for as long as what they are about is on record.
//! - **A torn write** is what follows the last newline: a crash cut it off before its answer left. It
//!   is told and cut before the next record is written. If nothing but its newline is missing or
//!   wrong, the record counts.
//! - **Any other line** that cannot be read is damage: named by its number and its place, as many as
//!   there are ([`Damage`]). What it means is for the caller to decide.
//!
//! What readers of format 1 make of a file of a later one: for them the first line is damage before good
//! lines, so they do not start, and leave the file as it is. The next reader of format 2 finds it
//! whole: a downgrade loses nothing. A format line that they would take for a record without effect
//! was possible, and not worth having for good: format 1 was never released.

mod contents;
mod file;
mod forms;
mod line;
mod model;
mod open_file;
mod recent;
mod record;
mod snapshot;
mod unknown_fields;

pub use contents::{Contents, Damage, ReadError, Torn, Unknown};
pub use line::Fault;
pub use model::{Attachment, Clock, Identity, Intent, Interface, Made, Maker, Origin};
pub use snapshot::Snapshot;

use anyhow::{Context, Result, bail};
use contents::FORMAT;
use forms::ms;
use open_file::{OpenFile, Outlives};
use pool::{EniId, Owner, RecentCalls, Source, Supply, Time};
use record::{KnownConfig, Record};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Name of the file in the run folder.
const FILE: &str = "journal";

/// Records beyond those that are needed, before the file is written anew: rewriting costs as much
/// as a few hundred appends, so it stays rare and the file small.
const SLACK: usize = 512;

/// Records until that is tried again where it failed: a folder that cannot be written to does not
/// cost every ADD a try.
const PAUSE: usize = 64;

/// The longest `IP_COOLDOWN_PERIOD`, until it is known.
const LONGEST_COOLDOWN: Duration = Duration::from_hours(18);

/// What is worth telling of the file.
#[derive(Debug)]
pub enum Notice<'a> {
    /// It could not be written anew: records are appended to the old one, and it is tried again.
    NotWrittenAnew(&'a anyhow::Error),
    /// It was removed or replaced while it was open, and is in its place again, whole.
    PutBack,
    /// It cannot be written to: what it held is known, and whatever must be noted fails until that
    /// changes.
    ReadOnly(&'a anyhow::Error),
    /// It can be written to again.
    Writable,
}

/// The open file, and what is in it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// None while it cannot be written to.
    file: Option<OpenFile>,
    /// Records in the file.
    written: usize,
    /// Not before so many is it written anew.
    not_before: usize,
    snapshot: Snapshot,
    /// What a file is that was read, is still in its place, and is kept aside before that is written
    /// to; and since when.
    keep: Option<(&'static str, Time)>,
    /// How long an address rests after its release.
    cooldown: Duration,
    tell: fn(Notice<'_>),
}

impl Journal {
    /// Reads the journal of a run folder. Makes and changes nothing; see [`Contents::read`].
    ///
    /// # Errors
    /// Damage is none: see [`Contents::damages`].
    pub fn read(run_dir: &Path) -> Result<Contents, ReadError> {
        Contents::read(&run_dir.join(FILE))
    }

    /// Sets a file aside as `journal.newer-TIME` that only a newer daemon understands: the next
    /// [`Journal::read`] finds none.
    ///
    /// # Errors
    /// What the kernel says; the file may have both names then.
    pub fn set_newer_aside(run_dir: &Path, now: Time) -> Result<PathBuf> {
        let path = run_dir.join(FILE);
        let aside = file::keep_aside(&path, file::NEWER, now)?;
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        Ok(aside)
    }

    /// Opens what was read, and writes it anew, in the format of this version. `tell` hears of it
    /// when that fails, now or later: records are appended all the same. Where nothing can be
    /// written at all, what was read is known, and to note anything fails until that changes.
    ///
    /// # Errors
    /// The file is damaged ([`Contents::set_damage_aside`] makes it whole).
    pub fn open(contents: Contents, tell: fn(Notice<'_>)) -> Result<Self> {
        if let Some(damages) = contents.damages_in_words() {
            bail!(
                "understand {}: damaged are {damages}: compare with `ip route`, then remove the file",
                contents.path.display()
            );
        }
        let Contents { path, snapshot, records, length, torn, .. } = contents;
        let mut journal = Self::closed(path, snapshot, tell);
        journal.written = records;
        if let Err(error) = journal.write_anew() {
            match open_as_it_is(&journal.path, length, torn) {
                Ok(file) => {
                    journal.file = Some(file);
                    journal.not_before = records + PAUSE;
                    tell(Notice::NotWrittenAnew(&error));
                }
                // The first error names the cause: where the disk takes nothing, both are the same.
                Err(_) => tell(Notice::ReadOnly(&error)),
            }
        }
        Ok(journal)
    }

    /// Knows what was read from a damaged file that could not be set aside. To note anything fails
    /// until that can be done.
    #[must_use]
    pub fn open_damaged(contents: Contents, now: Time, tell: fn(Notice<'_>)) -> Self {
        let keep = Some((file::DAMAGED, now));
        Self { keep, ..Self::closed(contents.path, contents.snapshot, tell) }
    }

    /// Knows nothing, because a file that only a newer daemon understands could not be set aside. To
    /// note anything fails until that can be done.
    #[must_use]
    pub fn open_newer(run_dir: &Path, now: Time, tell: fn(Notice<'_>)) -> Self {
        let keep = Some((file::NEWER, now));
        Self { keep, ..Self::closed(run_dir.join(FILE), Snapshot::default(), tell) }
    }

    fn closed(path: PathBuf, snapshot: Snapshot, tell: fn(Notice<'_>)) -> Self {
        Self {
            path,
            file: None,
            written: 0,
            not_before: 0,
            snapshot,
            keep: None,
            cooldown: LONGEST_COOLDOWN,
            tell,
        }
    }

    /// Says how long addresses rest: what has rested is not kept much longer.
    pub fn set_cooldown(&mut self, cooldown: Duration) {
        self.cooldown = cooldown;
    }

    /// What it holds.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Notes an assignment. Returns when it is on record: only then may the answer leave.
    pub fn allocated(&mut self, attachment: Attachment) -> Result<()> {
        self.append(Record::Assigned(attachment), Outlives::Process)
    }

    /// Notes that an owner let go.
    pub fn released(&mut self, owner: &Owner, now: Time) -> Result<()> {
        let Owner { network, container, interface } = owner.clone();
        let released = Record::Released { network, container, interface, at_ms: ms(now) };
        self.append(released, Outlives::Process)
    }

    /// Notes the ENIConfig in use.
    pub fn source(&mut self, source: &Source) -> Result<()> {
        let config = match source.clone() {
            Source::EniConfig { name, supply: Supply { subnets, groups } } => {
                Some(KnownConfig { name, subnets, groups })
            }
            Source::Node(_) => None,
            // Not to know it now is no reason to forget it.
            Source::Missing { .. } => return Ok(()),
        };
        if config == self.snapshot.config {
            return Ok(());
        }
        self.append(Record::Config(config), Outlives::Machine)
    }

    /// Notes that an interface is about to be made, or that it is made or given up.
    pub fn intent(&mut self, device_index: u32, now: Option<Intent>) -> Result<()> {
        self.append(Record::Intent { device_index, now }, Outlives::Machine)
    }

    /// Notes who this node is.
    pub fn identity(&mut self, identity: &Identity) -> Result<()> {
        if self.snapshot.identity.as_ref() == Some(identity) {
            return Ok(());
        }
        self.append(Record::Identity(identity.clone()), Outlives::Machine)
    }

    /// Notes what times on record are measured with, and what the time is by that: none of those on
    /// record is later.
    pub fn clock(&mut self, clock: &Clock, now: Time) -> Result<()> {
        self.snapshot.forget_future(now);
        if self.snapshot.clock.as_ref() == Some(clock) {
            return Ok(());
        }
        self.append(Record::Clock(clock.clone()), Outlives::Machine)
    }

    /// Notes what an interface is now; `None` when it is gone.
    pub fn interface(&mut self, id: &EniId, now: Option<Interface>) -> Result<()> {
        if self.snapshot.interfaces.get(&id.0) == now.as_ref() {
            return Ok(());
        }
        self.append(Record::Interface { id: id.0.clone(), now }, Outlives::Machine)
    }

    /// Notes what calls for an interface changed lately; `None` when lists show it by now.
    pub fn recent(&mut self, id: &EniId, now: Option<&RecentCalls>) -> Result<()> {
        if self.snapshot.recent.get(id) == now {
            return Ok(());
        }
        let record = Record::RecentCalls { id: id.0.clone(), now: now.map(Into::into) };
        self.append(record, Outlives::Machine)
    }

    /// Notes that an interface of ours that is attached nowhere is to be deleted, or that it is.
    pub fn discarded(&mut self, id: &EniId, open: bool) -> Result<()> {
        if self.snapshot.discarded.contains(id) == open {
            return Ok(());
        }
        self.append(Record::Discarded { id: id.0.clone(), open }, Outlives::Machine)
    }

    /// Has the file in its place again if it was removed or replaced, or if it could not be written
    /// to, without waiting for the next record.
    ///
    /// # Errors
    /// What the kernel says; the open file stays as it is then.
    pub fn put_back(&mut self) -> Result<()> {
        let notice = match &self.file {
            Some(file) if file.is_at(&self.path) => return Ok(()),
            Some(_) => Notice::PutBack,
            None => Notice::Writable,
        };
        self.write_anew()?;
        (self.tell)(notice);
        Ok(())
    }

    fn append(&mut self, record: Record, outlives: Outlives) -> Result<()> {
        let unknown = self.snapshot.unknown_fields.of(&record).cloned();
        let line = line::encode(&record, unknown.as_ref())?;
        let appended = self.file()?.append(&line, outlives);
        appended.with_context(|| format!("write {}", self.path.display()))?;
        self.snapshot.take(record, unknown);
        self.written += 1;
        if self.written > self.not_before.max(self.snapshot.count() + SLACK) {
            self.try_anew(Self::write_anew);
        }
        Ok(())
    }

    /// The file, in its place if that can be had.
    fn file(&mut self) -> Result<&mut OpenFile> {
        match &self.file {
            None => self.put_back()?,
            // Where it is not in its place, and cannot be: what it has is on record for as long as
            // this daemon runs.
            Some(_) if self.written >= self.not_before => self.try_anew(Self::put_back),
            Some(_) => {}
        }
        self.file.as_mut().context("the journal is not open")
    }

    /// Writes the file anew, without what is no longer needed.
    fn write_anew(&mut self) -> Result<()> {
        if let Some((what, now)) = self.keep {
            file::keep_aside(&self.path, what, now)?;
            self.keep = None;
        }
        self.snapshot.forget_cooled(self.cooldown);
        self.file = Some(file::write_anew(&self.path, &self.snapshot, FORMAT)?);
        (self.written, self.not_before) = (self.snapshot.count(), 0);
        Ok(())
    }

    /// Tries to, and again a while later if that fails. All of it is on record before, and stays so.
    fn try_anew(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = write(self) {
            self.not_before = self.written + PAUSE;
            (self.tell)(Notice::NotWrittenAnew(&error));
        }
    }
}

/// Opens a file that could not be written anew, without what a torn write has left in it.
fn open_as_it_is(path: &Path, length: u64, torn: Option<Torn>) -> io::Result<OpenFile> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.len() != length {
        file.set_len(length)?;
    }
    if torn.is_some_and(|torn| torn.whole > 0) {
        file.write_all(b"\n")?;
        return OpenFile::new(file, length + 1);
    }
    if length == 0 {
        let format = line::of_format(FORMAT)?;
        file.write_all(format.as_bytes())?;
        return OpenFile::new(file, format.len() as u64);
    }
    OpenFile::new(file, length)
}

#[cfg(test)]
mod tests;
