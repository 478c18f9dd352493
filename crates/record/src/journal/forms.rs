//! Times, hardware addresses and lengths, as they are in records.

use pool::Time;
use std::time::Duration;

/// EC2 assigns prefixes of this length.
pub(super) const PREFIX_LENGTH: u8 = 28;

pub(super) fn ms(time: Time) -> u64 {
    u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn time(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}

/// A hardware address as its usual text.
pub(super) mod mac_text {
    use net::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mac)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Mac, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The same, where there may be none.
pub(super) mod optional_mac_text {
    use net::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(mac: &Option<Mac>, to: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => to.collect_str(mac),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Mac>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
