//! STATUS: whether an ADD could be served now or soon, from memory, without calls or waits.

use super::no_address;
use crate::node::{self, AddForecast, AllocateError, Node};
use cni::{Code, Error};
use pool::{Cause, Reason};
use std::time::{Duration, Instant};

/// The longest STATUS: containerd runs it under a lock whenever kubelet asks, every five seconds.
const DEADLINE: Duration = Duration::from_secs(1);

/// Says nothing, or why no ADD can be served.
pub(super) fn status(node: &Node) -> Result<(), Error> {
    let forecast = node.forecast(Instant::now() + DEADLINE).ok_or_else(stuck)?;
    judge(forecast, outwaits(node))
}

/// Says nothing, or why this node does not do its work. One whose interfaces are full does it: a
/// rollout has no reason to stop there.
pub(super) fn health(node: &Node) -> Result<(), Error> {
    let forecast = node.forecast(Instant::now() + DEADLINE).ok_or_else(stuck)?;
    if is_full(&forecast) {
        return Ok(());
    }
    judge(forecast, outwaits(node))
}

fn outwaits(node: &Node) -> bool {
    node::outwaits(node.settings.add_wait, node.settings.targets.cooldown)
}

fn is_full(forecast: &AddForecast) -> bool {
    let full = |error: &AllocateError| {
        matches!(error, AllocateError::NoAddress { reason: Reason::Full(_), .. })
    };
    forecast.cut_off == 0 && forecast.address.as_ref().is_err_and(full)
}

/// `outwaits_cooldown` tells that an ADD waits for longer than an address cools.
fn judge(forecast: AddForecast, outwaits_cooldown: bool) -> Result<(), Error> {
    let AddForecast { address, full, cut_off } = forecast;
    let Err(error) = address else { return Ok(()) };
    // A node whose pods have all their addresses is well, and kubelet sends no more of them.
    if full || comes_soon(&error, outwaits_cooldown) {
        return Ok(());
    }
    // CNI 1.1.0, "STATUS": 50, the plugin is not available (i.e. cannot service ADD requests); 51,
    // the plugin is not available, and existing containers in the network may have limited
    // connectivity.
    let words = no_address(error);
    Err(match cut_off {
        0 => Error { code: Code::NotAvailable, ..words },
        pods => Error { code: Code::LimitedConnectivity, ..words }.with_details(format!(
            "{pods} pods have addresses of interfaces that are not set up on this node"
        )),
    })
}

/// Whether an ADD that comes now finds an address while it waits.
fn comes_soon(error: &AllocateError, outwaits_cooldown: bool) -> bool {
    let AllocateError::NoAddress { none, reason, .. } = error else { return false };
    let cooled = none.cooling > 0 && outwaits_cooldown;
    let comes = match reason {
        Reason::Satisfied
        | Reason::Surplus
        | Reason::Changing
        | Reason::Short(_)
        | Reason::Coming { .. } => true,
        // Everybody waits for a moment, and nothing is wrong.
        Reason::BackingOff { refusal, .. } => refusal.cause == Cause::Throttled,
        Reason::Full(_) | Reason::NoSource { .. } => false,
    };
    cooled || comes
}

fn stuck() -> Error {
    let waited = DEADLINE.as_secs();
    Error::new(
        Code::NotAvailable,
        format!(
            "ipamd is busy with something else for more than {waited} s; look at its log, the disk of its record may be slow"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::{Limits, NoAddress, Refusal, Slots, Time};

    /// CNI requirement 47.
    #[test]
    fn status_fails_when_no_address_can_be_had_now_nor_soon() {
        check(full(), Some(50));
        check(Reason::NoSource { why: "no ENIConfig".into() }, Some(50));
        check(Reason::Coming { addresses: 5 }, None);
        check(Reason::Short(1), None);
        check(Reason::Satisfied, None);
        for (cause, code) in [
            (Cause::Throttled, None),
            (Cause::NoAddresses, Some(50)),
            (Cause::Denied, Some(50)),
            (Cause::Unavailable, Some(50)),
        ] {
            check(refused(cause), code);
        }
    }

    /// CNI requirement 47.
    #[test]
    fn status_says_what_a_failed_add_would_say() {
        let error = judge(forecast(full()), true).unwrap_err();

        let want = "no free address (28 in use, 0 cooling): all 3 interfaces of this instance type are full";
        assert_eq!(error.msg, want);
    }

    /// CNI requirement 30.
    #[test]
    fn status_tells_when_existing_pods_may_be_cut_off() {
        let forecast = AddForecast { cut_off: 2, ..forecast(full()) };

        let error = judge(forecast, true).unwrap_err();

        assert_eq!(error.code, Code::LimitedConnectivity);
        assert!(error.details.starts_with("2 pods "), "{}", error.details);
    }

    #[test]
    fn a_node_with_as_many_pods_as_kubelet_allows_is_well() {
        let forecast = AddForecast { full: true, ..forecast(full()) };

        assert_eq!(judge(forecast, true), Ok(()));
    }

    #[test]
    fn a_node_whose_interfaces_are_full_does_its_work() {
        let cut_off = AddForecast { cut_off: 2, ..forecast(full()) };

        assert!(is_full(&forecast(full())));
        assert!(!is_full(&cut_off));
        assert!(!is_full(&forecast(refused(Cause::NoAddresses))));
        assert!(!is_full(&forecast(Reason::NoSource { why: "no ENIConfig".into() })));
    }

    #[test]
    fn an_address_that_cools_for_less_than_an_add_waits_is_as_good_as_free() {
        let forecast = || {
            let mut forecast = forecast(full());
            if let Err(AllocateError::NoAddress { none, .. }) = &mut forecast.address {
                none.cooling = 1;
            }
            forecast
        };

        assert_eq!(judge(forecast(), true), Ok(()));
        assert!(judge(forecast(), false).is_err());
    }

    fn forecast(reason: Reason) -> AddForecast {
        let none = Box::new(NoAddress { in_use: 28, ..NoAddress::default() });
        let address = Err(AllocateError::NoAddress { none, reason, at: Time(Duration::ZERO) });
        AddForecast { address, full: false, cut_off: 0 }
    }

    fn full() -> Reason {
        let limits = Limits { enis: 3, max_enis: None, blocks_per_eni: 9, max_pods: None };
        Reason::Full(Slots { attached: 3, limits, not_serving: [].into(), of_others: 0 })
    }

    fn refused(cause: Cause) -> Reason {
        let refusal = Refusal { cause, message: "no".into() };
        Reason::BackingOff { refusal, until: Time(Duration::from_secs(9)) }
    }

    #[track_caller]
    fn check(reason: Reason, code: Option<u32>) {
        let answer = judge(forecast(reason.clone()), true);

        assert_eq!(answer.err().map(|error| error.code.number()), code, "{reason:?}");
    }
}
