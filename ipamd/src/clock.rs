//! The daemon's time. It goes on evenly whatever is done to the clock of the machine: rests, pauses and
//! consistency windows are measured with it, over restarts of the daemon too.
//!
//! It is the time since the machine booted and what the clock said at that moment, as the first daemon
//! with this record saw it. Times on record are of this clock; what others write, the peer's checkpoint,
//! and what people read are of the machine's ([`of_machine`], [`to_machine`]).

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use pool::Time;
use record::Clock;
use std::{
    fs,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};
use tracing::{info, warn};

/// A step of the clock of which people may want to know. Time services slew by less.
const STEP: Duration = Duration::from_secs(1);

/// A moment of this process, and the time that it was.
static SINCE: OnceLock<(Instant, Time)> = OnceLock::new();

/// The time. Until [`start`] that of the machine.
pub(crate) fn now() -> Time {
    match SINCE.get() {
        Some((moment, time)) => *time + moment.elapsed(),
        None => machine(),
    }
}

/// The time by the machine's clock.
pub(crate) fn machine() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is a machine without a clock: all addresses have cooled.
    Time(since.unwrap_or_default())
}

/// A time of the machine's clock as one of ours.
pub(crate) fn of_machine(time: Time) -> Time {
    shifted(time, machine(), now())
}

/// A time of ours as one of the machine's clock.
pub(crate) fn to_machine(time: Time) -> Time {
    shifted(time, now(), machine())
}

/// Begins with what is on record. What is to be on record.
pub(crate) fn start(recorded: Option<&Clock>) -> Option<Clock> {
    let boot = match boot() {
        Ok(boot) => boot,
        Err(error) => {
            warn!(
                error = format!("{error:#}"),
                "failed to learn when the machine booted: a step of its clock is a step of ours"
            );
            return None;
        }
    };
    let clock = decide(recorded, boot.id, boot.ago, machine());
    let time = Time(Duration::from_millis(clock.booted_ms) + boot.ago);
    SINCE.get_or_init(|| (Instant::now(), time));
    let step = machine().0.abs_diff(time.0);
    if step > STEP {
        info!(
            ?step,
            "the clock of the machine was set since it booted: times on record go on evenly"
        );
    }
    Some(clock)
}

/// The boot of this machine.
struct Boot {
    id: String,
    ago: Duration,
}

fn boot() -> Result<Boot> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
    let id = read("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    // Not /proc/uptime: times that are a hundredth of a second off change the order of an ADD and its DEL.
    let ago = clock_gettime(ClockId::CLOCK_BOOTTIME).context("read the time since the boot")?;
    Ok(Boot { id, ago: ago.into() })
}

/// The clock on record, if it is of this boot; else a new one.
fn decide(recorded: Option<&Clock>, boot: String, ago: Duration, machine: Time) -> Clock {
    match recorded.filter(|clock| clock.boot == boot) {
        Some(clock) => clock.clone(),
        None => {
            let booted = machine.0.saturating_sub(ago);
            Clock { boot, booted_ms: u64::try_from(booted.as_millis()).unwrap_or(u64::MAX) }
        }
    }
}

fn shifted(time: Time, from: Time, to: Time) -> Time {
    // One that nobody noted stays so.
    if time == Time::default() {
        return time;
    }
    Time(match to.0.checked_sub(from.0) {
        Some(ahead) => time.0.saturating_add(ahead),
        None => time.0.saturating_sub(from.0.saturating_sub(to.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_machines_clock_between_two_daemons_is_none_of_ours() {
        let first = decide(None, "a".into(), secs(100), at(10_000));

        for (row, machine) in [("back", at(10_000 - 3_600)), ("forward", at(10_000 + 3_600))] {
            let second = decide(Some(&first), "a".into(), secs(130), machine);

            assert_eq!(second, first, "{row}");
            assert_eq!(Duration::from_millis(second.booted_ms) + secs(130), secs(10_030), "{row}");
        }
    }

    #[test]
    fn after_a_boot_the_machines_clock_counts() {
        let before = Clock { boot: "a".into(), booted_ms: 5_000_000 };

        let after = decide(Some(&before), "b".into(), secs(10), at(20_000));

        assert_eq!(after, Clock { boot: "b".into(), booted_ms: 19_990_000 });
        let without_a_clock = decide(None, "b".into(), secs(10), at(3));
        assert_eq!(without_a_clock.booted_ms, 0);
    }

    #[test]
    fn times_of_others_are_shifted_by_how_much_the_clocks_differ() {
        assert_eq!(shifted(at(500), at(1_000), at(1_010)), at(510));
        assert_eq!(shifted(at(500), at(1_010), at(1_000)), at(490));
        assert_eq!(shifted(at(5), at(1_010), at(1_000)), at(0));
        assert_eq!(shifted(at(0), at(1_000), at(1_010)), at(0));
    }

    #[test]
    fn this_machine_says_when_it_booted_to_less_than_a_millisecond() {
        let boots: Vec<Boot> = (0..5).map(|_| boot().unwrap()).collect();

        assert!(boots.iter().all(|boot| boot.id == boots[0].id && !boot.id.is_empty()));
        assert!(boots.iter().any(|boot| !boot.ago.as_micros().is_multiple_of(1_000)));
        assert!(boots.is_sorted_by(|one, next| one.ago < next.ago));
    }

    fn at(seconds: u64) -> Time {
        Time(secs(seconds))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
}
