//! How an explanation reads.

use crate::{
    Action, Amount, Demand, Explanation, HOLD, InterfaceReport, Kept, NotAttached, NotGrown,
    Ownership, Pause, Paused, Readiness, Setting, Shortage, Source, Stock, Time,
};
use std::fmt::{self, Display, Formatter};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: {}", self.plan.reason)?;
        for action in &self.plan.actions {
            writeln!(f, "  {action}")?;
        }
        if let Some(at) = self.plan.wake_at {
            writeln!(f, "  next look {}", After(self.at, at))?;
        }
        for action in &self.underway {
            writeln!(f, "under way: {action}")?;
        }
        writeln!(f, "source: {}", self.source)?;
        writeln!(f, "demand: {}", self.demand)?;
        writeln!(
            f,
            "in use: {} addresses, {} on interfaces that serve no new pods",
            self.in_use, self.elsewhere
        )?;
        writeln!(f, "stock: {}", self.stock)?;
        writeln!(f, "missing: {}", self.shortage)?;
        if let Some(why) = &self.not_attached {
            writeln!(f, "no interface is attached: {why}")?;
        }
        for interface in &self.interfaces {
            interface.write(f, self.at)?;
        }
        for pause in &self.pauses {
            writeln!(f, "paused: {pause}; next try {}", After(self.at, pause.until))?;
        }
        Ok(())
    }
}

/// When something is, seen from now.
struct After(Time, Time);

impl Display for After {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(now, at) = self;
        // Rounded up: at the time that is told, it is so.
        write!(f, "in {} s", at.0.saturating_sub(now.0).as_millis().div_ceil(1_000))
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttachEni { device_index, subnet, amount, .. } => {
                write!(
                    f,
                    "attach an interface in {subnet} at device index {device_index}, with {amount}"
                )
            }
            Self::Assign { eni, amount } => write!(f, "assign {amount} to {eni}"),
            Self::Unassign { eni, blocks } => {
                write!(f, "unassign {} blocks of {eni}", blocks.len())
            }
            Self::DeleteEni { eni } => write!(f, "detach {eni}"),
            Self::SetGroups { eni, .. } => write!(f, "set the security groups of {eni}"),
            Self::EndWithInstance { eni } => write!(f, "let {eni} end with the instance"),
            Self::Tag { enis, .. } => {
                let enis: Vec<_> = enis.iter().map(ToString::to_string).collect();
                write!(f, "tag {}", enis.join(", "))
            }
            Self::Inspect { eni } => write!(f, "ask whose {eni} is"),
            Self::Settle { eni } => write!(f, "ask what {eni} has"),
            Self::Discard { eni } => write!(f, "delete {eni}, which is attached nowhere"),
            Self::CountFree { subnets } => {
                write!(f, "count the free addresses of {} subnets", subnets.len())
            }
        }
    }
}

impl Display for Amount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(count) => write!(f, "{count} addresses"),
            Self::Prefixes(count) => write!(f, "{count} prefixes"),
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(supply) => write!(f, "the node's subnet, {}", supply.subnets.join(", ")),
            Self::EniConfig { name, supply } => {
                write!(f, "ENIConfig {name}, {}", supply.subnets.join(", "))
            }
            Self::Missing { why } => write!(f, "none: {why}"),
        }
    }
}

impl Display for Demand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { waiting, expected, targets, max_pods } = self;
        write!(f, "{waiting} pods wait, {expected} are expected")?;
        for (setting, value) in [
            (Setting::WarmEnis, Some(targets.warm_enis)),
            (Setting::WarmPrefixes, Some(targets.warm_prefixes)),
            (Setting::WarmAddresses, targets.warm_addresses),
            (Setting::MinimumAddresses, targets.minimum_addresses),
        ] {
            if let Some(value) = value.filter(|_| targets.uses(setting)) {
                write!(f, "; {setting}={value}")?;
            }
        }
        match max_pods {
            Some(most) => write!(f, "; kubelet lets {most} pods run"),
            None => Ok(()),
        }
    }
}

impl Display for Stock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { held, free, cooling, quarantined, asked_for, setting_up, .. } = self;
        write!(
            f,
            "{held} addresses for new pods: {free} free or coming ({asked_for} asked for, \
             {setting_up} being set up), {cooling} cooling, {quarantined} quarantined"
        )
    }
}

impl Display for Shortage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { addresses, to_demand, to_target, setting, .. } = self;
        write!(f, "{addresses} addresses ({to_demand} to pods, {to_target} to pods and {setting}")?;
        if self.is_capped() {
            f.write_str("; more are not worth holding for the pods that kubelet lets run")?;
        }
        f.write_str(")")
    }
}

impl InterfaceReport {
    fn write(&self, f: &mut Formatter<'_>, now: Time) -> fmt::Result {
        let Self { id, device_index, subnet, blocks, addresses, in_use, free, .. } = self;
        writeln!(
            f,
            "{id}: device index {device_index}, {subnet}, {blocks} blocks, {addresses} addresses, \
             {in_use} in use, {free} free"
        )?;
        if let Some(why) = self.not_serving {
            writeln!(f, "  serves no new pods: {why}")?;
        }
        if self.readiness == Readiness::Coming {
            writeln!(f, "  not set up on the node yet")?;
        }
        for action in &self.planned {
            writeln!(f, "  planned: {action}")?;
        }
        if let Some(why) = &self.not_grown {
            writeln!(f, "  not grown: {why}")?;
        }
        if let Some(why) = &self.kept {
            writeln!(f, "  kept: {}", At(why, now))?;
        }
        match &self.blocks_kept {
            Some(why) if self.not_serving.is_none() && Some(why) != self.kept.as_ref() => {
                writeln!(f, "  its blocks are kept: {}", At(why, now))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Display for NotGrown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enough => f.write_str("nothing is missing"),
            Self::NotServing(_) => f.write_str("it serves no new pods"),
            Self::Full { blocks } => write!(f, "it is full, with {blocks} blocks"),
            Self::UnderWay(kind) => write!(f, "another change is under way ({})", kind.word()),
            Self::OthersFirst => f.write_str("what is missing is asked for on fuller interfaces"),
            Self::Paused(pause) => write!(f, "paused, {pause}"),
        }
    }
}

impl Display for NotAttached {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enough => f.write_str("nothing is missing"),
            Self::OthersFirst => {
                f.write_str("those that are there have room, or will have it soon")
            }
            Self::NoSlot(slots) => slots.fmt(f),
            Self::NoSource => f.write_str("it is not known where addresses come from"),
            Self::Inspecting => f.write_str("EC2 is asked first which of those there may be used"),
            Self::Counting => {
                f.write_str("EC2 is asked first which subnet has the most free addresses")
            }
            Self::Paused(pause) => write!(f, "paused, {pause}"),
        }
    }
}

/// Why something is kept, seen from now.
struct At<'a>(&'a Kept, Time);

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(kept, now) = self;
        match kept {
            Kept::Primary => f.write_str("it is the primary interface"),
            Kept::NotOurs(Ownership::Unmanaged) => {
                f.write_str("its tags say that it is not to be managed")
            }
            Kept::NotOurs(Ownership::NotForPods) => f.write_str("it carries no pods"),
            Kept::NotOurs(_) => f.write_str("somebody else attached it"),
            Kept::OriginUnknown => f.write_str("it is not known who attached it"),
            Kept::NoSource => f.write_str("it is not known where addresses come from"),
            Kept::UnderWay(kind) => write!(f, "another change is under way ({})", kind.word()),
            Kept::InUse { pods } => write!(f, "{pods} pods have addresses of it"),
            Kept::Cooling { addresses, until } => {
                write!(
                    f,
                    "{addresses} addresses of it cool, the last has cooled {}",
                    After(*now, *until)
                )
            }
            Kept::Quarantined { addresses } => {
                write!(f, "{addresses} addresses of it are quarantined")
            }
            Kept::NotReady => f.write_str("it is not set up on the node yet"),
            Kept::PodsWait { pods } => write!(f, "{pods} pods wait for addresses"),
            Kept::Short => f.write_str("addresses are missing"),
            Kept::Coming => f.write_str("addresses are on their way"),
            Kept::Last => f.write_str("it is the last one that serves new pods"),
            Kept::Needed { spare } => {
                write!(f, "the targets need it; {spare} addresses can be spared")
            }
            Kept::RecentPeak { in_use, until } => {
                write!(f, "pods used {in_use} addresses within {} s", HOLD.as_secs())?;
                until.map_or(Ok(()), |until| write!(f, "; looked at again {}", After(*now, until)))
            }
            Kept::WholeOnly => f.write_str("only whole interfaces are given back"),
            Kept::NoFreeBlock => f.write_str("none of its blocks is free"),
            Kept::OthersFirst => f.write_str("another interface goes first"),
            Kept::Paused(pause) => write!(f, "paused, {pause}"),
        }
    }
}

impl Display for Pause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { paused, refusal, .. } = self;
        match paused {
            Paused::Action(kind) => write!(f, "{}: ", kind.word())?,
            Paused::Subnet(subnet) => write!(f, "growth in {subnet}: ")?,
        }
        write!(f, "{} ({})", refusal, refusal.cause.word())
    }
}
