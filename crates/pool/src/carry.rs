//! Which interfaces may carry an address that somebody uses whom nobody knows: none of them is given back.

use crate::{EniId, adopt::Unknown};
use std::collections::BTreeSet;

/// What speaks for an interface carrying an address. The views of an interface may be late, and lack
/// an address that a pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Nothing.
    Unlikely,
    /// The address lies in its subnet, as far as that is known.
    InSubnet,
    /// A rule sends what comes from the address to its table.
    Routes,
    /// It has the address, by record or metadata.
    Shows,
    /// The address is its primary one, which no pod has.
    Primary,
}

/// The interfaces that may carry an address: those for which the most speaks.
#[must_use]
pub fn may_carry(
    why: &Unknown,
    interfaces: impl IntoIterator<Item = (EniId, Fit)>,
) -> BTreeSet<EniId> {
    let is_pods = match why {
        Unknown::Link(_) | Unknown::LinkGone(_) | Unknown::Rule => true,
        // No pod has it: an interface carries it only where one shows it.
        Unknown::Elsewhere | Unknown::Own => false,
    };
    let interfaces: Vec<(EniId, Fit)> = interfaces.into_iter().collect();
    let best = interfaces.iter().map(|(_, fit)| *fit).max().unwrap_or(Fit::Unlikely);
    let carries = match best {
        Fit::Shows => true,
        Fit::Routes | Fit::InSubnet => is_pods,
        Fit::Unlikely | Fit::Primary => false,
    };
    let fitting = interfaces.into_iter().filter(|(_, fit)| carries && *fit == best);
    fitting.map(|(eni, _)| eni).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fit::{InSubnet, Primary, Routes, Shows, Unlikely};

    #[test]
    fn those_carry_an_address_for_which_the_most_speaks() {
        let link = || Unknown::Link("eni1".into());
        let gone = || Unknown::LinkGone("default/web".into());
        for (row, why, fits, want) in [
            ("nothing is attached", link(), vec![], vec![]),
            ("one shows it", link(), vec![InSubnet, Shows, Routes], vec![1]),
            ("one routes it", link(), vec![InSubnet, Unlikely, Routes], vec![2]),
            ("any in its subnet", link(), vec![InSubnet, Unlikely, InSubnet], vec![0, 2]),
            ("in no subnet of the node", link(), vec![Unlikely, Unlikely], vec![]),
            ("the link is gone", gone(), vec![InSubnet, Unlikely], vec![0]),
            ("a rule alone", Unknown::Rule, vec![InSubnet, Routes], vec![1]),
            ("an interface's own", Unknown::Rule, vec![Primary, InSubnet, Routes], vec![]),
            ("the node's own, and shown", Unknown::Own, vec![Shows, InSubnet], vec![0]),
            ("the node's own", Unknown::Own, vec![InSubnet, Routes], vec![]),
            ("routed elsewhere", Unknown::Elsewhere, vec![InSubnet, InSubnet], vec![]),
            ("routed elsewhere, and shown", Unknown::Elsewhere, vec![InSubnet, Shows], vec![1]),
        ] {
            let interfaces = fits.into_iter().enumerate().map(|(nth, fit)| (id(nth), fit));

            let found = may_carry(&why, interfaces);

            assert_eq!(found, want.into_iter().map(id).collect(), "{row}");
        }
    }

    fn id(nth: usize) -> EniId {
        EniId(format!("eni-{nth}"))
    }
}
