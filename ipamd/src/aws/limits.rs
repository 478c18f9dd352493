//! How many interfaces and addresses an instance type allows, and whether it can have prefixes.

use crate::aws::ec2::{Ec2, TypeLimits};
use pool::{Limits, Mode, Targets};
use steps::Refused;
use tracing::warn;

/// What an instance type can carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// How much.
    pub limits: Limits,
    /// Whether its interfaces can have prefixes.
    prefixes: bool,
}

/// What an instance type can carry, from the table, or from EC2 for a type that is newer than it.
///
/// # Errors
/// EC2's, for a type that is not in the table.
pub(crate) async fn of(
    instance_type: &str,
    max_enis: Option<usize>,
    ec2: &Ec2,
) -> Result<Capacity, Refused> {
    let TypeLimits { enis, addresses, prefixes } = match instances::find(instance_type) {
        Some(found) => TypeLimits {
            enis: found.on_default_card() as usize,
            addresses: found.ipv4_per_interface as usize,
            prefixes: found.has_prefixes(),
        },
        None => ec2.limits(instance_type).await?,
    };
    let limits = Limits {
        enis,
        max_enis,
        // The limit counts the primary address, which no pod can have.
        blocks_per_eni: addresses.saturating_sub(1),
        max_pods: None,
    };
    Ok(Capacity { limits, prefixes })
}

impl Capacity {
    /// The targets that this type can meet: without prefixes, as the peer's, where it has none.
    pub(crate) fn fit(&self, targets: Targets, instance_type: &str) -> Targets {
        if self.prefixes || targets.mode == Mode::Addresses {
            return targets;
        }
        warn!(
            instance_type,
            "ENABLE_PREFIX_DELEGATION has no effect: only types built on Nitro have prefixes. Pods \
             get single addresses, and WARM_ENI_TARGET counts instead of WARM_PREFIX_TARGET"
        );
        Targets { mode: Mode::Addresses, ..targets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn prefixes_are_given_up_on_types_without_nitro_and_nothing_else_is() {
        let targets = |mode| Targets {
            mode,
            warm_enis: 1,
            warm_prefixes: 2,
            warm_addresses: Some(3),
            minimum_addresses: None,
            cooldown: Duration::from_secs(30),
        };
        let limits = Limits { enis: 2, max_enis: None, blocks_per_eni: 9, max_pods: None };
        let fit = |prefixes, mode| Capacity { limits, prefixes }.fit(targets(mode), "m4.large");

        assert_eq!(fit(false, Mode::Prefixes), targets(Mode::Addresses));
        assert_eq!(fit(true, Mode::Prefixes), targets(Mode::Prefixes));
        assert_eq!(fit(false, Mode::Addresses), targets(Mode::Addresses));
    }
}
