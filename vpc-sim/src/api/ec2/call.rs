//! A call of EC2 on its way: understood from its parameters, let in, carried out, answered.

use super::{params::Params, write::Describe, xml::Xml};
use crate::api::cloud::Clock;
use std::{collections::BTreeMap, time::Duration};
use vpc::authorize::Ask;
use vpc::{Action, Breadth, Ec2Error, EniId, Filter, Interface, Lookup, Time, Vpc};

/// A call, and whether it is meant.
pub(super) struct Call {
    pub(super) action: Action,
    pub(super) asked: Asked,
    pub(super) mode: Mode,
}

/// Whether a call is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is.
    Real,
    /// It asks whether it would be allowed.
    DryRun,
}

/// An action, and what reads its parameters.
pub(super) type Entry = (Action, Read);

/// Reads the parameters of an action.
pub(super) type Read = fn(&mut Params) -> Result<Asked, Ec2Error>;

/// Carries out what is asked, and writes the inside of its answer.
type CarryOut = dyn FnOnce(&mut Scene<'_>) -> Result<Xml, Ec2Error> + Send;

/// What is asked of EC2.
pub(super) struct Asked {
    /// How much it looks at.
    pub(super) breadth: Breadth,
    /// Whether it can be asked if it would be allowed.
    pub(super) has_dry_run: bool,
    /// What it is about, for the caller's policy.
    pub(super) ask: Ask,
    pub(super) carry_out: Box<CarryOut>,
}

/// Where and when a call is carried out.
pub(super) struct Scene<'a> {
    pub(super) vpc: &'a mut Vpc,
    pub(super) now: Time,
    pub(super) clock: &'a Clock,
    /// How old what it reads is.
    pub(super) lag: Duration,
}

impl Asked {
    /// Something about what it names.
    pub(super) fn to(
        carry_out: impl FnOnce(&mut Scene<'_>) -> Result<Xml, Ec2Error> + Send + 'static,
    ) -> Self {
        Self {
            breadth: Breadth::Some,
            has_dry_run: true,
            ask: Ask::default(),
            carry_out: Box::new(carry_out),
        }
    }

    /// To look something up.
    pub(super) fn look_up(
        lookup: Lookup,
        find: impl FnOnce(&Scene<'_>, &Lookup) -> Result<Xml, Ec2Error> + Send + 'static,
    ) -> Self {
        let breadth = lookup.breadth();
        Self { breadth, ..Self::to(move |scene| find(scene, &lookup)) }
    }

    /// It is about these, not about everything.
    pub(super) fn about(self, resources: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { ask: Ask::about(resources), ..self }
    }

    /// It makes one of these, with these tags, out of what it is about.
    pub(super) fn makes(self, kind: &'static str, tags: BTreeMap<String, String>) -> Self {
        Self { ask: Ask { makes: Some(kind), tags, ..self.ask }, ..self }
    }

    /// Unlike most, it has no dry run.
    pub(super) fn without_dry_run(self) -> Self {
        Self { has_dry_run: false, ..self }
    }
}

impl Scene<'_> {
    /// Writes descriptions of what is.
    pub(super) fn describe(&self) -> Describe<'_> {
        Describe { vpc: self.vpc, clock: self.clock, past: None }
    }

    /// Interfaces as this call sees them; none when that is as they are.
    pub(super) fn past(&self) -> Option<BTreeMap<EniId, Interface>> {
        self.vpc.interfaces_as_of(self.now, self.lag)
    }
}

/// The interface that a call is about.
pub(super) fn interface_id(p: &mut Params) -> Result<String, Ec2Error> {
    p.required("NetworkInterfaceId")
}

/// What a description is asked for. `ids` is the name of its list of ids.
pub(super) fn lookup(p: &mut Params, ids: &str) -> Result<Lookup, Ec2Error> {
    Ok(Lookup {
        ids: p.list(ids)?,
        filters: p.each("Filter", |filter| {
            Ok(Filter { name: filter.required("Name")?, values: filter.list("Value")? })
        })?,
        max_results: p.parsed("MaxResults")?,
        next_token: p.text("NextToken")?.filter(|token| !token.is_empty()),
    })
}

/// The tags of what is created, all of which must be of this type.
pub(super) fn tags_for(p: &mut Params, wanted: &str) -> Result<BTreeMap<String, String>, Ec2Error> {
    let tags = p.each("TagSpecification", |specification| {
        let kind = specification.required("ResourceType")?;
        if kind != wanted {
            let message = format!("'{kind}' is not a valid taggable resource type here.");
            return Err(Ec2Error::invalid(message));
        }
        tags(specification)
    })?;
    Ok(tags.into_iter().flatten().collect())
}

/// Tags that are given as a list.
pub(super) fn tags(p: &mut Params) -> Result<BTreeMap<String, String>, Ec2Error> {
    let pairs =
        p.each("Tag", |tag| Ok((tag.required("Key")?, tag.text("Value")?.unwrap_or_default())))?;
    Ok(pairs.into_iter().collect())
}
