//! Whether this node takes part in the search for what dead nodes left in EC2, and how often.

use super::reader::Reader;
use std::time::Duration;

/// The search for interfaces of dead nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweeping {
    /// It is not made.
    Off,
    /// By one node of the cluster.
    On {
        /// From one look to the next.
        interval: Duration,
        /// How long a node must have been seen dead before anything of it is deleted.
        grace: Duration,
    },
}

/// Half of the peer's interval, as one node alone looks: what is left behind is gone within the hour that it
/// takes there.
const INTERVAL: i64 = 1_800;

/// Three times the peer's (`docs/references.md#peer-leaked`). EC2 does not describe an instance to everybody
/// at once when it was launched, and the clocks of two nodes may differ: both are a matter of a minute or
/// two. To wait longer holds a few addresses longer; to wait too little would take a new node's interface.
const GRACE: i64 = 900;

/// A day: who wants no search switches it off.
const LONGEST: i64 = 86_400;

/// Whether interfaces of dead nodes are searched for, and how often.
pub(super) fn read(reader: &mut Reader<'_>) -> Sweeping {
    let mut seconds = |name: &'static str, default: i64| {
        let seconds = reader.number(name, 1, LONGEST).unwrap_or(default);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let interval = seconds("ENI_CNI_SWEEP_INTERVAL", INTERVAL);
    let grace = seconds("ENI_CNI_SWEEP_GRACE", GRACE);
    match reader.flag("DISABLE_LEAKED_ENI_CLEANUP", false) {
        true => Sweeping::Off,
        false => Sweeping::On { interval, grace },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Sweeping};
    use std::time::Duration;

    #[test]
    fn the_search_is_made_unless_it_is_switched_off() {
        let (interval, grace) = (Duration::from_secs(1_800), Duration::from_secs(900));

        assert_eq!(read(&[]), Ok(Sweeping::On { interval, grace }));
        let off = ("DISABLE_LEAKED_ENI_CLEANUP", "True");
        assert_eq!(read(&[off, ("ENI_CNI_SWEEP_INTERVAL", "60")]), Ok(Sweeping::Off));
        let interval = Duration::from_secs(60);
        assert_eq!(read(&[("ENI_CNI_SWEEP_INTERVAL", "60")]), Ok(Sweeping::On { interval, grace }));
    }

    #[test]
    fn a_search_without_a_pause_or_without_an_end_is_refused() {
        for name in ["ENI_CNI_SWEEP_INTERVAL", "ENI_CNI_SWEEP_GRACE"] {
            for value in ["0", "-1", "86401", "1h"] {
                assert_eq!(read(&[(name, value)]), Err(1), "{name}={value}");
            }
        }
    }

    fn read(environment: &[(&str, &str)]) -> Result<Sweeping, usize> {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let settings = Settings::read(&environment.collect());
        settings.map(|it| it.sweeping).map_err(|bad| bad.len())
    }
}
