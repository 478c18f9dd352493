//! A place that lines go to and that lets nobody wait: a bounded buffer, and a thread that empties it.
//!
//! A disk that is full, read-only or hangs, and a pipe that nobody reads, cost lines and nothing else.
//! The lines are counted, and what was lost is told wherever lines still go.

use crate::tell::metrics;
use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};
use tracing::warn;

/// Bytes that wait at most: minutes of a busy node's lines.
const ROOM: usize = 1 << 20;

/// A buffer that has grown beyond this is not kept for the next lines.
const KEPT: usize = 64 << 10;

/// Where lines wait to be written.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines that found no room.
    lost: u64,
    /// Some are being written now.
    writing: bool,
    /// There is no thread.
    alone: bool,
}

impl Sink {
    /// A thread that gives all lines to `write`, many at once when many wait.
    pub(super) fn start(
        name: &'static str,
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let sink = Self(Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new() }));
        let emptied = sink.clone();
        let empty = move || {
            let (mut state, mut lines) = (State::default(), vec![]);
            loop {
                let lost = emptied.take(&mut lines);
                state = state.after(name, lost, count(&lines), write(&lines));
            }
        };
        if thread::Builder::new().name(name.into()).spawn(empty).is_err() {
            sink.waiting().alone = true;
        }
        sink
    }

    /// Adds a line, if there is room.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.alone {
            // Nobody looks whether this one hangs: a process without threads does not live long.
            let _ = io::stderr().write_all(line);
            return;
        }
        if waiting.lines.len() + line.len() > ROOM {
            waiting.lost += 1;
            return;
        }
        let asleep = waiting.lines.is_empty() && !waiting.writing;
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if asleep {
            self.0.changed.notify_all();
        }
    }

    /// Waits until nothing waits, or for the deadline.
    pub(super) fn flush(&self, deadline: Instant) {
        let mut waiting = self.waiting();
        while waiting.writing || !waiting.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes all lines as soon as there are any. Returns how many found no room meanwhile.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        if lines.capacity() > KEPT {
            *lines = vec![];
        }
        lines.clear();
        let mut waiting = self.waiting();
        waiting.writing = false;
        if waiting.lines.is_empty() {
            self.0.changed.notify_all();
        }
        while waiting.lines.is_empty() {
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut waiting.lines, lines);
        waiting.writing = true;
        std::mem::take(&mut waiting.lost)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it goes with a place.
#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Takes,
    /// It takes nothing; so many lines are lost since.
    Refuses(u64),
}

impl State {
    /// What it is after a write, told when that is something else.
    fn after(self, name: &str, no_room: u64, lines: u64, wrote: io::Result<()>) -> Self {
        if no_room > 0 {
            metrics::log_lost(name, no_room);
            warn!(log = name, lines = no_room, "failed to write a log as fast as lines came: lost");
        }
        match (self, wrote) {
            (Self::Takes, Ok(())) => Self::Takes,
            (Self::Refuses(lost), Ok(())) => {
                warn!(log = name, lost, "a log takes lines again: those meanwhile are lost");
                Self::Takes
            }
            (before, Err(error)) => {
                metrics::log_lost(name, lines);
                let Self::Refuses(lost) = before else {
                    warn!(log = name, error = %error, "failed to write a log: its lines are lost until that works");
                    return Self::Refuses(lines);
                };
                Self::Refuses(lost + lines)
            }
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::mpsc::{Receiver, channel, sync_channel},
        time::Duration,
    };

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_place_that_hangs_makes_nobody_wait_and_what_it_lost_is_counted() {
        let (entered, enters) = channel();
        let (go_on, goes_on) = sync_channel::<()>(0);
        let (write, written) = channel();
        let sink = Sink::start("hangs", move |lines| {
            entered.send(()).unwrap();
            let _ = goes_on.recv();
            write.send(lines.to_vec()).unwrap();
            Ok(())
        });
        let line = [&[b'x'; 1023][..], b"\n"].concat();

        sink.push(b"first\n");
        enters.recv_timeout(LONG).unwrap();
        for _ in 0..5000 {
            sink.push(&line);
        }
        let waiting = sink.waiting().lines.len();
        let lost = sink.waiting().lost;
        drop(go_on);
        sink.flush(Instant::now() + LONG);

        assert_eq!((waiting, lost), (ROOM, 5000 - 1024));
        assert_eq!(all(&written).len(), "first\n".len() + ROOM);
    }

    #[test]
    fn an_end_waits_for_what_was_said_but_not_for_ever() {
        let (write, written) = channel();
        let sink = Sink::start("slow", move |lines| {
            thread::sleep(Duration::from_millis(20));
            write.send(lines.to_vec()).unwrap();
            Ok(())
        });
        let hangs = Sink::start("hangs", |_| {
            loop {
                thread::park();
            }
        });

        for number in 0..10 {
            sink.push(format!("{number}\n").as_bytes());
        }
        sink.flush(Instant::now() + LONG);
        hangs.push(b"never\n");
        hangs.flush(Instant::now() + Duration::from_millis(10));

        assert_eq!(all(&written), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    }

    #[test]
    fn lines_that_were_refused_are_counted_until_some_are_taken() {
        let refused = || Err(io::Error::from(io::ErrorKind::StorageFull));

        let first = State::Takes.after("full", 0, 3, refused());
        let second = State::Refuses(3).after("full", 0, 4, refused());
        let third = State::Refuses(7).after("full", 0, 1, Ok(()));

        assert_eq!([first, second, third], [State::Refuses(3), State::Refuses(7), State::Takes]);
        let lost = metrics::page().text();
        assert!(lost.contains("eni_cni_log_lost_lines_total{log=\"full\"} 7\n"), "{lost}");
    }

    fn all(written: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(written.try_iter().flatten().collect()).unwrap()
    }
}
