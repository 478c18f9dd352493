//! A request's parameters: dotted names as a tree, read once, with nothing left over.

use std::{collections::BTreeMap, str::FromStr};
use vpc::Ec2Error;

/// Parts that a name can have; EC2's longest, of `RunInstances`, have six. A tree of any depth
/// would let a caller choose how deep we recurse.
const DEPTH: usize = 8;

/// One parameter, or all of them. Reading takes; what nobody took is unknown.
#[derive(Debug, Default)]
pub(super) struct Params {
    name: String,
    value: Option<String>,
    inner: BTreeMap<String, Self>,
}

impl Params {
    /// Reads a form: `Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-0…`.
    pub(super) fn parse(form: &[u8]) -> Result<Self, Ec2Error> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(form).map_err(|_| {
            Ec2Error::new("MalformedQueryString", "The query string contains a syntax error")
        })?;
        let mut root = Self::default();
        for (name, value) in pairs.into_iter().filter(|(name, _)| !is_signature(name)) {
            if name.split('.').count() > DEPTH {
                return Err(Ec2Error::unknown_parameter(&name));
            }
            let mut node = &mut root;
            for part in name.split('.') {
                let inner = node.child_name(part);
                node = node.inner.entry(part.into()).or_default();
                node.name = inner;
            }
            if node.value.replace(value).is_some() {
                let message = format!("The parameter {name} is given twice");
                return Err(Ec2Error::new("MalformedQueryString", message));
            }
        }
        Ok(root)
    }

    fn child_name(&self, part: &str) -> String {
        if self.name.is_empty() { part.into() } else { format!("{}.{part}", self.name) }
    }

    /// The text of a parameter.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Ec2Error> {
        let Some(param) = self.inner.remove(name) else { return Ok(None) };
        match (param.value, param.inner.into_values().next()) {
            (Some(value), None) => Ok(Some(value)),
            (_, Some(inner)) => Err(Ec2Error::unknown_parameter(&inner.deepest())),
            (None, None) => Ok(None),
        }
    }

    /// The text of a parameter that must be there and not empty.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Ec2Error> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Ec2Error::missing(&self.child_name(name)))
    }

    /// A parameter that is a number, an address, …
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Ec2Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&self.child_name(name), &text).map(Some)
    }

    /// A parameter that is a number, an address, … and must be there.
    pub(super) fn required_parsed<T: FromStr>(&mut self, name: &str) -> Result<T, Ec2Error> {
        let text = self.required(name)?;
        parse(&self.child_name(name), &text)
    }

    /// A parameter that is `true` or `false`; false when absent.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Ec2Error> {
        Ok(self.parsed(name)?.unwrap_or_default())
    }

    /// The members of a list, `Name.1`, `Name.2`, …, in the order of their numbers.
    pub(super) fn list<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, Ec2Error> {
        self.each(name, |member| {
            let text = member.value.take().ok_or_else(|| Ec2Error::missing(&member.name))?;
            parse(&member.name, &text)
        })
    }

    /// Reads each member of a list, and nothing may be left of it.
    pub(super) fn each<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Self) -> Result<T, Ec2Error>,
    ) -> Result<Vec<T>, Ec2Error> {
        let Some(list) = self.inner.remove(name) else { return Ok(Vec::new()) };
        if list.value.is_some() {
            return Err(Ec2Error::unknown_parameter(&list.name));
        }
        let mut members = BTreeMap::new();
        for (index, member) in list.inner {
            let Ok(index) = index.parse::<u32>() else {
                return Err(Ec2Error::unknown_parameter(&member.deepest()));
            };
            members.insert(index, member);
        }
        let read_whole = |mut member: Self| {
            let result = read(&mut member)?;
            member.finish()?;
            Ok(result)
        };
        members.into_values().map(read_whole).collect()
    }

    /// Reads a structure, when it is there, and nothing may be left of it.
    pub(super) fn inside<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Ec2Error>,
    ) -> Result<Option<T>, Ec2Error> {
        let Some(mut structure) = self.inner.remove(name) else { return Ok(None) };
        let result = read(&mut structure)?;
        structure.finish()?;
        Ok(Some(result))
    }

    /// Whether there is a parameter of this name, or one that begins with it and a dot.
    pub(super) fn has(&self, name: &str) -> bool {
        self.inner.contains_key(name)
    }

    /// Fails when a parameter was not read.
    pub(super) fn finish(self) -> Result<(), Ec2Error> {
        if self.value.is_none() && self.inner.is_empty() {
            return Ok(());
        }
        Err(Ec2Error::unknown_parameter(&self.deepest()))
    }

    fn deepest(self) -> String {
        match self.inner.into_values().next() {
            Some(inner) => inner.deepest(),
            None => self.name,
        }
    }
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, Ec2Error> {
    text.trim()
        .parse()
        .map_err(|_| Ec2Error::invalid(format!("Value ({text}) for parameter {name} is invalid.")))
}

/// A request's parameters for people: without the action, the version and the signature.
pub(super) fn describe(form: &[u8]) -> String {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(form).unwrap_or_default();
    let asked =
        |name: &str| !is_signature(name) && !matches!(name, "Action" | "Version" | "ClientToken");
    let pairs = pairs.iter().filter(|(name, _)| asked(name));
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

// A request by GET may be signed in its query; signature version 2 has no prefix.
fn is_signature(name: &str) -> bool {
    name.starts_with("X-Amz-")
        || matches!(
            name,
            "AWSAccessKeyId"
                | "Signature"
                | "SignatureMethod"
                | "SignatureVersion"
                | "SecurityToken"
                | "Timestamp"
                | "Expires"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(form: &str) -> Params {
        Params::parse(form.as_bytes()).unwrap()
    }

    #[test]
    fn members_of_a_list_are_in_the_order_of_their_numbers() {
        let mut params = params("Id.10=c&Id.2=b&Id.1=a");

        let list: Vec<String> = params.list("Id").unwrap();

        assert_eq!(list, ["a", "b", "c"]);
    }

    #[test]
    fn a_missing_parameter_is_named_with_its_whole_path() {
        let mut params = params("Filter.3.Value.1=x");

        let result = params.each("Filter", |filter| filter.required("Name"));

        assert_eq!(result, Err(Ec2Error::missing("Filter.3.Name")));
    }

    #[track_caller]
    fn check_unknown(form: &str, want: &str) {
        let mut params = params(form);

        let read = params.list::<String>("Id").and_then(|_| params.finish());

        assert_eq!(read, Err(Ec2Error::unknown_parameter(want)));
    }

    #[test]
    fn what_nobody_reads_is_unknown() {
        check_unknown("Ids.1=a", "Ids.1");
        check_unknown("Id=a", "Id");
        check_unknown("Id.1=a&Id.1.Name=b", "Id.1.Name");
        check_unknown("Id.x=a", "Id.x");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named() {
        let mut params = params("DeviceIndex=one");

        let result = params.required_parsed::<u32>("DeviceIndex");

        let message = "Value (one) for parameter DeviceIndex is invalid.";
        assert_eq!(result, Err(Ec2Error::invalid(message)));
    }

    #[test]
    fn a_name_of_a_thousand_parts_is_refused() {
        let form = format!("{}=1", vec!["a"; 1000].join("."));

        let result = Params::parse(form.as_bytes());

        assert_eq!(result.unwrap_err().code, "UnknownParameter");
    }
}
