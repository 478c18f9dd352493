//! Looking things up: by id, by filter, a page at a time.

pub(crate) mod instances;
pub(crate) mod interfaces;
pub(crate) mod network;

use super::{
    error::Ec2Error,
    filter::{Resource, select},
    ids::Kind,
    lookup::{Lookup, Page},
    state::Vpc,
};
use std::{borrow::Borrow, collections::BTreeMap, ops::RangeInclusive};

/// Page sizes that EC2 allows for most things.
const PAGE_SIZES: RangeInclusive<u32> = 5..=1000;

fn look_up<'a, K: Ord + Borrow<str>, T: Resource>(
    vpc: &Vpc,
    lookup: &Lookup,
    all: &'a BTreeMap<K, T>,
    kind: Kind,
) -> Result<Page<'a, T>, Ec2Error> {
    let found = find(vpc, lookup, |id| all.get(id), all.values(), |id| kind.unknown(id))?;
    paginate(found, lookup, None, &PAGE_SIZES)
}

/// A page of what matches the filters.
pub(super) fn page_of<'a, T: Resource>(
    vpc: &Vpc,
    all: impl Iterator<Item = &'a T>,
    lookup: &Lookup,
) -> Result<Page<'a, T>, Ec2Error> {
    paginate(select(vpc, all, &lookup.filters)?, lookup, None, &PAGE_SIZES)
}

/// What is looked up, in the order of ids.
fn find<'a, T: Resource>(
    vpc: &Vpc,
    lookup: &Lookup,
    one: impl Fn(&str) -> Option<&'a T>,
    all: impl Iterator<Item = &'a T>,
    unknown: impl Fn(&str) -> Ec2Error,
) -> Result<Vec<&'a T>, Ec2Error> {
    if lookup.ids.is_empty() {
        return select(vpc, all, &lookup.filters);
    }
    let mut named = BTreeMap::new();
    for id in &lookup.ids {
        // The error names the first missing id only.
        named.insert(id, one(id).ok_or_else(|| unknown(id))?);
    }
    select(vpc, named.into_values(), &lookup.filters)
}

/// Cuts a page out of what was found, which is in the order of ids.
fn paginate<'a, T: Resource>(
    found: Vec<&'a T>,
    lookup: &Lookup,
    default_size: Option<u32>,
    sizes: &RangeInclusive<u32>,
) -> Result<Page<'a, T>, Ec2Error> {
    if lookup.max_results.is_some() && !lookup.ids.is_empty() {
        let message = "The parameter MaxResults cannot be used with a list of ids";
        return Err(Ec2Error::combination(message));
    }
    if let Some(max) = lookup.max_results.filter(|max| !sizes.contains(max)) {
        let (least, most) = (sizes.start(), sizes.end());
        let message =
            format!("Value ( {max} ) for parameter maxResults must be from {least} to {most}.");
        return Err(Ec2Error::new("InvalidMaxResults", message));
    }
    let after = lookup.next_token.as_deref().map(decode_token).transpose()?;
    let rest = found.into_iter().filter(|item| after.as_deref().is_none_or(|id| item.id() > id));
    let mut items: Vec<&T> = rest.collect();
    let Some(size) = lookup.max_results.or(default_size).map(|size| size as usize) else {
        return Ok(Page { items, next_token: None });
    };
    let more = items.len() > size;
    items.truncate(size);
    let next_token = items.last().filter(|_| more).map(|last| encode_token(last.id()));
    Ok(Page { items, next_token })
}

// The last id of a page, in hexadecimal so that nobody is tempted to read it.
fn encode_token(id: &str) -> String {
    id.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_token(token: &str) -> Result<String, Ec2Error> {
    let digits = token.as_bytes().chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    });
    digits
        .collect::<Option<Vec<u8>>>()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Ec2Error::new("InvalidNextToken", format!("The token '{token}' is invalid")))
}
