//! Files that another daemon, the peer's or an earlier one of ours, may have left.

use record::Journal;
use std::{env, fs, path::PathBuf, process, sync::OnceLock};

/// The journal.
pub(crate) fn journal(bytes: &[u8]) {
    let folder = folder();
    let path = folder.join("journal");
    fs::write(&path, bytes).expect("write an input");
    let Ok(contents) = Journal::read(folder) else { return };
    let _ = contents.damages_in_words();
    if let Ok(journal) = Journal::open(contents, |_| {}) {
        let before = format!("{:?}", journal.snapshot());
        drop(journal);
        // What was written anew is what was read.
        let again = Journal::read(folder).expect("read what was written anew");
        let again = Journal::open(again, |_| {}).expect("open what was written anew");
        assert_eq!(before, format!("{:?}", again.snapshot()));
    }
}

/// The peer's checkpoint.
pub(crate) fn checkpoint(bytes: &[u8]) {
    let path = folder().join("ipam.json");
    fs::write(&path, bytes).expect("write an input");
    let _ = record::checkpoint::read(&path);
}

/// A DEL that the plugin kept.
pub(crate) fn spool(bytes: &[u8]) {
    let spool = folder().join("del-spool");
    fs::create_dir_all(&spool).expect("make a folder");
    fs::write(spool.join("input.del"), bytes).expect("write an input");
    let _ = record::spool::drain(folder());
    let _ = fs::remove_dir_all(spool);
}

/// A folder of this process, in memory where there is some.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
        let folder = root.join(format!("eni-cni-fuzz-{}", process::id()));
        fs::create_dir_all(&folder).expect("make a folder");
        folder
    })
}
