//! What Go's reader of JSON takes for nothing, and serde would not.

use serde::{Deserialize, Deserializer, de::Error as _};
use std::net::IpAddr;

/// Takes JSON's `null` for the value that stands for nothing, as Go does.
pub(crate) fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// Takes an empty text for no address, as Go does.
pub(crate) fn empty_is_none<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<IpAddr>, D::Error> {
    match Option::<String>::deserialize(from)?.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(D::Error::custom),
    }
}
