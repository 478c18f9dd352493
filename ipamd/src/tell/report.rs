//! The reason of the pool's state: as a log line, as metrics, and as the error of a failed ADD.
//!
//! All three are made here, from the plan's reason and the pool's counts.

use crate::tell::metrics::{self, Page};
use pool::{Action, Cause, Counts, EniId, NoAddress, Plan, REASONS, Reason, Time, adopt::Unknown};
use std::{collections::BTreeSet, fs, net::Ipv4Addr};
use tracing::info;

/// Why a pod got no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddFailure {
    /// The word for the pool's reason.
    pub reason: &'static str,
    /// What has to be mended, where the word does not tell; otherwise empty.
    pub cause: String,
    /// What the pod was told.
    pub message: String,
}

/// Why there is no source before Kubernetes was heard: nothing is wrong yet.
pub(crate) const NOT_HEARD: &str = "custom networking is on, but the Kubernetes API has not said yet \
                                    which ENIConfig this node uses";

impl AddFailure {
    /// One for a reason.
    pub(crate) fn of(reason: &Reason, message: String) -> Self {
        let cause = match reason {
            Reason::NoSource { why } => why.clone(),
            // Beside the class of what EC2 said it is only about what: what it says may differ each time.
            Reason::BackingOff { refusal, .. } => {
                let about = refusal.message.split(": ").next().unwrap_or_default();
                format!("{} {about}", refusal.cause.word())
            }
            Reason::Satisfied
            | Reason::Short(_)
            | Reason::Coming { .. }
            | Reason::Full(_)
            | Reason::Changing
            | Reason::Surplus => String::new(),
        };
        Self { reason: reason.word(), cause, message }
    }
}

/// What whoever looks at the Node is told before a pod has failed: that no more addresses come before
/// somebody has mended what is named.
pub(crate) fn refusal(reason: &Reason) -> Option<AddFailure> {
    let message = match reason {
        Reason::NoSource { why } if why == NOT_HEARD => return None,
        Reason::NoSource { why } => format!("no pod gets an address here: {why}"),
        Reason::BackingOff { refusal, .. } => {
            let remedy = match refusal.cause {
                Cause::Wrong => "mend the subnet or the security groups that are named",
                Cause::Denied => "allow it in the policy of the node's role (conf/iam-policy.json)",
                Cause::Throttled
                | Cause::NoAddresses
                | Cause::NoPrefixes
                | Cause::PrefixesUnsupported
                | Cause::Limit
                | Cause::Unavailable => return None,
            };
            format!("no more addresses for pods come here: {refusal}: {remedy}")
        }
        Reason::Satisfied
        | Reason::Short(_)
        | Reason::Coming { .. }
        | Reason::Full(_)
        | Reason::Changing
        | Reason::Surplus => return None,
    };
    Some(AddFailure::of(reason, message))
}

/// Tells of plans.
#[derive(Debug, Default)]
pub(crate) struct Report {
    last: Option<Reason>,
}

impl Report {
    /// One line in the log when the reason has changed; and what to tell of the Node then.
    pub(crate) fn plan(&mut self, plan: &Plan) -> Option<AddFailure> {
        if self.last.as_ref() == Some(&plan.reason) {
            return None;
        }
        info!(reason = %plan.reason, actions = ?plan.actions, "plan");
        self.last = Some(plan.reason.clone());
        refusal(&plan.reason)
    }
}

/// The error for a pod that gets no address: how many there are, why there are no more, and when
/// that may change.
pub(crate) fn no_address(none: &NoAddress, reason: &Reason, now: Time) -> String {
    let next_try = reason.retry_at().map(|at| at.0.saturating_sub(now.0).as_secs() + 1);
    let next_try = next_try.map(|seconds| format!("; next try in {seconds} s")).unwrap_or_default();
    let cools = none.next_cooled.map(|at| at.0.saturating_sub(now.0).as_secs() + 1);
    let cools = cools.map(|seconds| format!("; the next address has cooled in {seconds} s"));
    format!("{none}: {reason}{next_try}{}", cools.unwrap_or_default())
}

/// The peer's name for the step in which an action fails.
pub(crate) fn step(action: &Action) -> &'static str {
    match action {
        Action::AttachEni { .. } => "increaseIPPoolAllocENI",
        Action::Assign { .. } => "increaseIPPoolAllocIPAddressesFailed",
        Action::Unassign { .. } => "decreaseIPPool",
        Action::DeleteEni { .. } | Action::Discard { .. } => "decreaseIPPoolFreeENIFailed",
        // The peer counts no failures of these.
        Action::SetGroups { .. } => "setGroups",
        Action::EndWithInstance { .. } => "endWithInstance",
        Action::Tag { .. } => "tag",
        Action::Inspect { .. } => "inspect",
        Action::Settle { .. } => "settle",
        Action::CountFree { .. } => "countFree",
    }
}

/// Puts what can be asked for on a page of metrics.
pub(crate) fn show(page: &mut Page, counts: &Counts, reason: &Reason) {
    page.set(&metrics::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    for (metric, value) in [
        (&metrics::ENI_MAX, counts.enis_max),
        (&metrics::IP_MAX, counts.addresses_max),
        (&metrics::ENI_ALLOCATED, counts.enis),
        (&metrics::IP_TOTAL, counts.held),
        (&metrics::IP_ASSIGNED, counts.in_use),
        (&metrics::PREFIX_TOTAL, counts.prefixes),
        (&metrics::SHORT, counts.short),
        (&metrics::FREE, counts.free),
        (&metrics::COOLING, counts.idle),
        (&metrics::COMING, counts.coming),
        (&metrics::WAITING, counts.waiting),
        (&metrics::EXPECTED, counts.expected),
    ] {
        page.set(metric, &[], number(value));
    }
    page.set(&metrics::IN_PROGRESS, &["increaseDatastorePool"], number(counts.growing));
    page.set(&metrics::IN_PROGRESS, &["decreaseDatastorePool"], number(counts.shrinking));
    for (eni, used) in &counts.in_use_by_eni {
        page.set(&metrics::IP_PER_ENI, &[&eni.0], number(*used));
    }
    for (first, used) in &counts.in_use_by_prefix {
        page.set(&metrics::IP_PER_CIDR, &[&format!("{first}/28")], number(*used));
    }
    for word in REASONS {
        let is = word == reason.word();
        page.set(&metrics::REASON, &[word], f64::from(u8::from(is)));
    }
    let retry_at = reason.retry_at().map_or(0.0, |at| at.0.as_secs_f64());
    page.set(&metrics::RETRY_AT, &[], retry_at);
}

/// Puts addresses that are held on a page of metrics: each with an interface that may carry it, and
/// the word for why it is held.
pub(crate) fn show_held(page: &mut Page, held: &[(Ipv4Addr, EniId, &'static str)]) {
    for word in Unknown::WORDS {
        let of_word = held.iter().filter(|(.., reason)| *reason == word);
        let addresses: BTreeSet<Ipv4Addr> = of_word.map(|(address, ..)| *address).collect();
        page.set(&metrics::HELD, &[word], number(addresses.len()));
    }
    for (address, eni, word) in held {
        page.set(&metrics::HELD_ADDRESS, &[&address.to_string(), &eni.0, word], 1.0);
    }
}

/// Puts how many DELs could not be read on a page of metrics.
pub(crate) fn show_unreadable(page: &mut Page, count: usize) {
    page.set(&metrics::UNREADABLE_DELS, &[], number(count));
}

/// Puts what this process costs on a page of metrics.
pub(crate) fn show_process(page: &mut Page) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    page.set(&metrics::MEMORY, &[], resident_bytes(&status).unwrap_or(0.0));
    page.set(&metrics::CPU_SECONDS, &[], cpu_seconds(&stat).unwrap_or(0.0));
    let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    page.set(&metrics::OPEN_FILES, &[], number(files));
}

/// proc(5), /proc/pid/status: `VmRSS:      1234 kB`.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// proc(5), /proc/pid/stat: fields 14 and 15, in hundredths of a second on every Linux. The second
/// field is a name in parentheses that may contain anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn number(count: usize) -> f64 {
    // Far below the limit up to which this is exact.
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::{Limits, Refusal, Slots};
    use std::time::Duration;

    #[test]
    fn a_pod_without_address_is_told_why_and_when_the_next_try_is() {
        let none = NoAddress { in_use: 28, cooling: 2, ..NoAddress::default() };
        let rests = NoAddress { next_cooled: Some(at(71)), ..none };
        let refusal = Refusal { cause: Cause::NoAddresses, message: "subnet-0c is full".into() };
        let reason = Reason::BackingOff { refusal, until: at(70) };
        let limits = Limits { enis: 3, max_enis: None, blocks_per_eni: 9, max_pods: None };
        let slots = Slots { attached: 3, limits, not_serving: [].into(), of_others: 0 };

        assert_eq!(
            no_address(&none, &reason, at(60)),
            "no free address (28 in use, 2 cooling): subnet-0c is full; next try in 11 s"
        );
        assert_eq!(
            no_address(&none, &Reason::Full(slots.clone()), at(60)),
            "no free address (28 in use, 2 cooling): all 3 interfaces of this instance type are full"
        );
        assert_eq!(
            no_address(&rests, &Reason::Full(slots), at(60)),
            "no free address (28 in use, 2 cooling): all 3 interfaces of this instance type are \
             full; the next address has cooled in 12 s"
        );
    }

    #[test]
    fn what_somebody_has_to_mend_is_told_with_what_to_do_and_what_passes_is_not() {
        let refused = |cause| {
            let message = "ENIConfig a, subnet s: CreateNetworkInterface: no".into();
            Reason::BackingOff { refusal: Refusal { cause, message }, until: at(7) }
        };
        let missing = |why: &str| Reason::NoSource { why: why.into() };

        let wrong = refusal(&refused(Cause::Wrong)).unwrap();
        let denied = refusal(&refused(Cause::Denied)).unwrap();
        let absent = refusal(&missing("ENIConfig `a` does not exist: create it")).unwrap();

        assert_eq!(
            wrong.message,
            "no more addresses for pods come here: ENIConfig a, subnet s: CreateNetworkInterface: \
             no: mend the subnet or the security groups that are named"
        );
        assert_eq!(wrong.cause, "wrong ENIConfig a, subnet s");
        assert!(denied.message.ends_with("(conf/iam-policy.json)"), "{denied:?}");
        assert!(absent.message.ends_with("ENIConfig `a` does not exist: create it"), "{absent:?}");
        for passes in [refused(Cause::Throttled), missing(NOT_HEARD), Reason::Satisfied] {
            assert_eq!(refusal(&passes), None, "{passes:?}");
        }
    }

    #[test]
    fn exactly_one_reason_is_shown_as_the_one() {
        let refusal = Refusal { cause: Cause::Throttled, message: "slow down".into() };
        let mut page = Page::new();

        show(&mut page, &Counts::default(), &Reason::BackingOff { refusal, until: at(70) });
        let text = page.text();

        assert!(text.contains("eni_cni_pool_reason{reason=\"backing_off\"} 1\n"), "{text}");
        assert!(text.contains("eni_cni_pool_retry_timestamp_seconds 70\n"), "{text}");
        assert_eq!(text.matches("eni_cni_pool_reason{").count(), REASONS.len(), "{text}");
        let ones = text
            .lines()
            .filter(|line| line.starts_with("eni_cni_pool_reason{") && line.ends_with(" 1"));
        assert_eq!(ones.count(), 1, "{text}");
    }

    #[test]
    fn an_address_that_two_interfaces_may_carry_is_held_once() {
        let mut page = Page::new();
        let held = |eni: &str| ([10, 0, 0, 5].into(), EniId(eni.into()), "link");

        show_held(&mut page, &[held("eni-1"), held("eni-2")]);
        let text = page.text();

        assert!(text.contains("eni_cni_held_addresses{reason=\"link\"} 1\n"), "{text}");
        assert!(text.contains("eni_cni_held_addresses{reason=\"rule\"} 0\n"), "{text}");
        assert_eq!(text.matches("eni_cni_held_address{address=\"10.0.0.5\"").count(), 2, "{text}");
    }

    #[test]
    fn the_cost_of_the_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1 2 3";

        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        assert_eq!(cpu_seconds(""), None);
    }

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }
}
