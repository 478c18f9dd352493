//! The file that is open: whole records are appended to it, as long as its path leads to it.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// What a record must outlive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outlives {
    /// This process, however it ends: it is enough that the kernel has it. Pods and what they hold
    /// end with the machine.
    Process,
    /// The machine: interfaces stay attached, and what is being made of them goes on in EC2. Where
    /// the folder is in memory, as `/var/run` of a node is, this costs nothing.
    Machine,
}

/// A file that is open for appending.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    /// Device and inode: nobody else gets them while the file is open.
    number: (u64, u64),
    /// Bytes of whole records in it.
    length: u64,
    /// There is more in the file: what a write that failed has left.
    ragged: bool,
}

impl OpenFile {
    /// A file of so many bytes, all of them whole records.
    pub(super) fn new(file: File, length: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { file, number: number(&metadata), length, ragged: false })
    }

    /// Bytes of whole records in it.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether a path leads to it, and not to nothing or to another file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| number(&metadata) == self.number)
    }

    /// Appends a line. Returns when it is on record.
    pub(super) fn append(&mut self, line: &str, outlives: Outlives) -> io::Result<()> {
        self.cut()?;
        // Half a record, from a disk that is full, would spoil the next one.
        self.ragged = true;
        let on_record = self.file.write_all(line.as_bytes()).and_then(|()| match outlives {
            Outlives::Process => Ok(()),
            Outlives::Machine => self.file.sync_data(),
        });
        if let Err(error) = on_record {
            // If it cannot be cut now, it is before the next one.
            let _ = self.cut();
            return Err(error);
        }
        self.ragged = false;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Cuts off what a write that failed has left.
    fn cut(&mut self) -> io::Result<()> {
        if self.ragged {
            self.file.set_len(self.length)?;
            self.ragged = false;
        }
        Ok(())
    }
}

fn number(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
