//! Line and column of the entry in a world file that makes no VPC.

use serde::Deserialize;
use std::{collections::BTreeMap, ops::Range};
use toml::{Spanned, Value};
use vpc::SpecError;

type Table = Spanned<BTreeMap<String, Spanned<Value>>>;

/// The parts of a file that an error can be about, with their places.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Places {
    vpc: VpcPlaces,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VpcPlaces {
    cidrs: Option<Spanned<Vec<Spanned<Value>>>>,
    subnets: Vec<Table>,
    groups: Vec<Table>,
}

/// The place of the entry that is wrong, unless it is one that the file does not have.
pub(super) fn of(text: &str, error: &SpecError) -> Option<Range<usize>> {
    let Places { vpc } = toml::from_str(text).ok()?;
    match error {
        SpecError::NoBlock => vpc.cidrs.as_ref().map(Spanned::span),
        // Of two that overlap the later one is wrong.
        SpecError::Block(block) | SpecError::Overlap(_, block) => vpc.block(&block.to_string()),
        SpecError::Outside { name, .. } => entry(&vpc.subnets, name, "cidr"),
        SpecError::Reservation { name, kind, .. } => {
            entry(&vpc.subnets, name, &format!("{kind}_reservations"))
        }
        SpecError::Zone { name, .. } => entry(&vpc.subnets, name, "zone"),
        SpecError::Twice(name) => {
            let tables = vpc.subnets.iter().chain(&vpc.groups).rev();
            let named = |key| tables.clone().find_map(|table| value(table, key, name));
            named("name").or_else(|| named("id"))
        }
        SpecError::Peer(group) | SpecError::UnknownGroup { group, .. } => {
            entry(&vpc.groups, group, "ingress").or_else(|| entry(&vpc.groups, group, "egress"))
        }
    }
}

impl VpcPlaces {
    fn block(&self, block: &str) -> Option<Range<usize>> {
        let in_subnets = self.subnets.iter().rev().find_map(|it| value(it, "cidr", block));
        let blocks = self.cidrs.iter().flat_map(|blocks| blocks.get_ref()).rev();
        let mut in_vpc = blocks.filter(|it| it.get_ref().as_str() == Some(block));
        let reserved = self.subnets.iter().rev().find_map(|it| reservation(it, block));
        in_subnets.or(reserved).or_else(|| in_vpc.next().map(Spanned::span))
    }
}

/// The place of a subnet's reservations that name a block.
fn reservation(table: &Table, block: &str) -> Option<Range<usize>> {
    let named = |key: &str| {
        let list = table.get_ref().get(key)?;
        let blocks = list.get_ref().as_array()?;
        blocks.iter().any(|it| it.as_str() == Some(block)).then(|| list.span())
    };
    named("explicit_reservations").or_else(|| named("prefix_reservations"))
}

/// The value of a key in the table of a name.
fn entry(tables: &[Table], name: &str, key: &str) -> Option<Range<usize>> {
    let table = tables.iter().find(|table| value(table, "name", name).is_some())?;
    Some(table.get_ref().get(key).map_or_else(|| table.span(), Spanned::span))
}

/// The place of a key's value in a table, when that is the value.
fn value(table: &Table, key: &str, wanted: &str) -> Option<Range<usize>> {
    let value = table.get_ref().get(key)?;
    (value.get_ref().as_str() == Some(wanted)).then(|| value.span())
}
