//! The versions of the specification, and the answer to VERSION.

use crate::{Code, Error};
use serde_json::{Value, json};
use std::fmt;

/// A version of the specification that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.1.0, also what a configuration without a version means.
    V0_1_0,
    /// 0.2.0
    V0_2_0,
    /// 0.3.0
    V0_3_0,
    /// 0.3.1
    V0_3_1,
    /// 0.4.0, the first with CHECK and with `prevResult` on DEL.
    V0_4_0,
    /// 1.0.0
    V1_0_0,
    /// 1.1.0, the first with GC and STATUS.
    V1_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest.
    pub const LATEST: Self = Self::V1_1_0;

    /// As it is written in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of a configuration: an exact match, and nothing means 0.1.0.
    ///
    /// # Errors
    /// [`Code::IncompatibleVersion`] for a version that we do not speak.
    pub fn parse(stated: &str) -> Result<Self, Error> {
        if stated.is_empty() {
            return Ok(Self::V0_1_0);
        }
        Self::ALL.into_iter().find(|version| version.as_str() == stated).ok_or_else(|| {
            let spoken = Self::ALL.map(|version| format!("{:?}", version.as_str())).join(" ");
            Error::new(Code::IncompatibleVersion, "incompatible CNI versions")
                .with_details(format!("config is {stated:?}, plugin supports [{spoken}]"))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The numbers of a version, known to us or not, for comparing. `None` when it is none.
pub(crate) fn numbers(stated: &str) -> Option<(u32, u32, u32)> {
    let mut parts = stated.splitn(3, '.').map(|part| part.parse().ok());
    let major = parts.next()??;
    Some((major, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?))
}

/// The version that a configuration states, if it can be read and we speak it: what an error about
/// anything else in the configuration is written in.
#[must_use]
pub fn stated_version(stdin: &[u8]) -> Option<Version> {
    let config: Value = serde_json::from_slice(stdin).ok()?;
    let stated = config.as_object()?.get("cniVersion").and_then(Value::as_str).unwrap_or("");
    Version::parse(stated).ok()
}

/// What VERSION prints. `stdin` may hold anything.
#[must_use]
pub fn version_reply(stdin: &[u8]) -> String {
    // CNI 1.1.0, "VERSION Success": `cniVersion`: The value of `cniVersion` specified on input.
    let version = match stated_version(stdin) {
        Some(version) if version > Version::V0_1_0 => version,
        Some(_) | None => Version::LATEST,
    };
    json!({
        "cniVersion": version.as_str(),
        "supportedVersions": Version::ALL.map(Version::as_str),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CNI requirement 17.
    #[test]
    fn a_version_must_match_exactly() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Ok(version), "{version}");
        }
        for stated in ["1.2.0", "9.9.9", "abc", "1.0", " 1.0.0"] {
            let error = Version::parse(stated).unwrap_err();

            assert_eq!(error.code, Code::IncompatibleVersion, "{stated}");
            assert_eq!(error.msg, "incompatible CNI versions", "{stated}");
            assert!(error.details.starts_with(&format!("config is {stated:?}, plugin supports [")));
        }
    }

    /// CNI requirement 17.
    #[test]
    fn no_version_means_0_1_0() {
        assert_eq!(Version::parse(""), Ok(Version::V0_1_0));
        assert_eq!(stated_version(b"{}"), Some(Version::V0_1_0));
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("0.10.0") > numbers("0.4.0"));
        assert_eq!(numbers("1.0"), Some((1, 0, 0)));
        assert_eq!(numbers("abc"), None);
        assert_eq!(numbers(""), None);
    }

    #[test]
    fn version_answers_in_the_version_it_was_asked_in() {
        let reply: Value =
            serde_json::from_str(&version_reply(br#"{"cniVersion":"1.0.0"}"#)).unwrap();

        assert_eq!(reply["cniVersion"], "1.0.0");
        assert_eq!(
            reply["supportedVersions"],
            json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        );
    }

    #[test]
    fn version_answers_whatever_is_on_stdin() {
        for stdin in [&b""[..], b"garbage", b"[]", br#"{"cniVersion":"9.9.9"}"#] {
            let reply: Value = serde_json::from_str(&version_reply(stdin)).unwrap();

            assert_eq!(reply["cniVersion"], "1.1.0", "{}", stdin.escape_ascii());
        }
    }
}
