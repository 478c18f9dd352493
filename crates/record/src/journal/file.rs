//! How the journal's file is written anew, and how one that cannot be used is kept.

use super::{line, open_file::OpenFile, snapshot::Snapshot};
use crate::format::Format;
use anyhow::{Context, Result};
use pool::Time;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Files that are kept aside. They are for people who look into it; a file that is damaged again and
/// again must not fill the node's memory.
pub(super) const KEPT_ASIDE: usize = 5;

/// What the name of a damaged file that was set aside ends with, before the time.
pub(super) const DAMAGED: &str = "damaged-";

/// The same of a file that only a newer daemon understands.
pub(super) const NEWER: &str = "newer-";

/// Writes the whole file beside the old one and puts it in its place at once; open for appending.
/// Its folder is made if it is not there.
pub(super) fn write_anew(path: &Path, snapshot: &Snapshot, format: Format) -> Result<OpenFile> {
    let text = text(snapshot, format)?;
    let fresh = path.with_extension("new");
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        remove_if_there(&fresh)?;
        let mut file = OpenOptions::new().append(true).create_new(true).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&fresh, path)?;
        OpenFile::new(file, text.len() as u64)
    };
    let written = write();
    if written.is_err() {
        // It may hold the last bytes of a full disk. The error that counts is the first one.
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(|| format!("write {} anew", path.display()))
}

fn text(snapshot: &Snapshot, format: Format) -> Result<String> {
    let mut text = line::of_format(format)?;
    for record in snapshot.records() {
        text += &line::encode(&record, snapshot.unknown_fields.of(&record))?;
    }
    // What they are about may be in the records before them.
    for line in &snapshot.unknown_lines {
        text += line;
        text.push('\n');
    }
    Ok(text)
}

/// Keeps a file under a second name, with a label and the time, and removes the oldest of such files
/// beyond [`KEPT_ASIDE`].
pub(super) fn keep_aside(path: &Path, label: &str, now: Time) -> Result<PathBuf> {
    let mut aside = kept_aside(path, label)?;
    let mut seconds = now.0.as_secs();
    while aside.iter().any(|(taken, _)| *taken == seconds) {
        seconds += 1;
    }
    let name = path.with_extension(format!("{label}{seconds}"));
    // A second name costs nothing; where the file system has none, a copy.
    fs::hard_link(path, &name)
        .or_else(|_| fs::copy(path, &name).map(drop))
        .with_context(|| format!("keep {} as {}", path.display(), name.display()))?;

    aside.sort();
    let over = (aside.len() + 1).saturating_sub(KEPT_ASIDE);
    for (_, oldest) in aside.into_iter().take(over) {
        // If it stays it does no harm but take its place.
        let _ = fs::remove_file(oldest);
    }
    Ok(name)
}

/// The files that were set aside with a label, and when.
fn kept_aside(path: &Path, label: &str) -> Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("list {}", folder.display()))?.path();
        let time = file.extension().and_then(|it| it.to_str()?.strip_prefix(label)?.parse().ok());
        if let Some(time) = time
            && file.file_stem() == path.file_name()
        {
            found.push((time, file));
        }
    }
    Ok(found)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
