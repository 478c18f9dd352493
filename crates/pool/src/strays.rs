//! Addresses that somebody gave to the node itself: nobody else may get them while they are there.

use std::{collections::BTreeSet, net::Ipv4Addr};

/// What changed among the addresses of the node that are none of its interfaces' own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// There now, and not before: a pod gets none of them.
    pub came: BTreeSet<Ipv4Addr>,
    /// There before, and not any more: a pod may get them, once they have rested.
    pub went: BTreeSet<Ipv4Addr>,
}

impl Strays {
    /// Compares two looks at the node. `primaries` are the primary addresses of its interfaces,
    /// which no pod ever gets.
    #[must_use]
    pub fn between(
        before: &BTreeSet<Ipv4Addr>,
        now: &BTreeSet<Ipv4Addr>,
        primaries: &BTreeSet<Ipv4Addr>,
    ) -> Self {
        let came = now.difference(before).filter(|it| is_stray(**it, primaries));
        let went = before.difference(now).filter(|it| is_stray(**it, primaries));
        Self { came: came.copied().collect(), went: went.copied().collect() }
    }
}

fn is_stray(address: Ipv4Addr, primaries: &BTreeSet<Ipv4Addr>) -> bool {
    !address.is_loopback() && !primaries.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_went_is_told_but_for_the_interfaces_own_addresses_and_the_loopback() {
        let primaries = [address(4), address(5)].into();
        let before = [Ipv4Addr::LOCALHOST, address(4), address(9)].into();
        let now = [address(4), address(5), address(10), Ipv4Addr::new(127, 0, 0, 2)].into();

        let strays = Strays::between(&before, &now, &primaries);

        assert_eq!(strays, Strays { came: [address(10)].into(), went: [address(9)].into() });
    }

    #[test]
    fn what_stays_is_not_told_again() {
        let all = [address(9), address(10)].into();

        assert_eq!(Strays::between(&all, &all, &BTreeSet::new()), Strays::default());
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }
}
