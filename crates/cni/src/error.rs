//! What a call that failed prints.

/// The numbers that the specification and its library give to errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 1: we do not speak the configuration's version, or it has no such verb.
    IncompatibleVersion,
    /// 2: a field of the configuration has a value that we do not support.
    UnsupportedField,
    /// 3: the container does not exist; the runtime need not clean up.
    UnknownContainer,
    /// 4: a variable of the environment is missing or wrong.
    InvalidEnvironment,
    /// 5: reading or writing failed.
    Io,
    /// 6: content could not be decoded.
    Decode,
    /// 7: the network configuration is wrong.
    InvalidConfig,
    /// 8: the network namespace is none, or the plugin's own (from the library).
    InvalidNetns,
    /// 11: a condition that passes; the runtime should try again.
    TryAgainLater,
    /// 50, of STATUS only: ADD cannot be served.
    NotAvailable,
    /// 51, of STATUS only: ADD cannot be served, and running containers may have lost connectivity.
    LimitedConnectivity,
    /// 999: anything else (from the library).
    Internal,
}

impl Code {
    /// The number in the JSON.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::UnknownContainer => 3,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::InvalidConfig => 7,
            Self::InvalidNetns => 8,
            Self::TryAgainLater => 11,
            Self::NotAvailable => 50,
            Self::LimitedConnectivity => 51,
            Self::Internal => 999,
        }
    }
}

/// Why a call failed. The runtime shows `msg; details`, mostly without the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { "; " })]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// What failed and what to do, short.
    pub msg: String,
    /// More of it, or empty.
    pub details: String,
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// The same with a text that DEL may print: containerd treats a failed DEL as a success when
    /// its text contains "not found" or, without a namespace, "no such file or directory". The
    /// address would then be in use forever.
    #[must_use]
    pub fn for_del(self) -> Self {
        let reword = |text: String| {
            text.replace("not found", "missing")
                .replace("no such file or directory", "missing")
                .replace("No such file or directory", "missing")
        };
        Self { code: self.code, msg: reword(self.msg), details: reword(self.details) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    /// CNI requirement 29.
    #[test]
    fn an_error_says_version_code_message_and_details() {
        let error = Error::new(Code::TryAgainLater, "no free address").with_details("28 in use");

        let document: Value = serde_json::from_str(&error.to_json(Some("0.4.0"))).unwrap();

        assert_eq!(
            document,
            json!({"cniVersion": "0.4.0", "code": 11, "msg": "no free address", "details": "28 in use"})
        );
        assert_eq!(error.to_string(), "no free address; 28 in use");
    }

    #[test]
    fn an_error_without_details_has_no_such_key() {
        let document: Value =
            serde_json::from_str(&Error::new(Code::Io, "read stdin").to_json(None)).unwrap();

        assert_eq!(document, json!({"cniVersion": "1.1.0", "code": 5, "msg": "read stdin"}));
    }

    /// CNI requirement 32.
    #[test]
    fn the_text_for_del_is_never_taken_for_a_success() {
        let error = Error::new(Code::Internal, "link eni0 not found")
            .with_details("open: No such file or directory (os error 2)")
            .for_del();

        assert_eq!(error.to_string(), "link eni0 missing; open: missing (os error 2)");
    }
}
