//! Whose calls EC2 takes: access keys, and whether their signatures count.

use serde::Deserialize;

/// Who may call, and what is asked of a call's signature.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSpec {
    /// What is asked of a call's signature.
    pub signatures: Signatures,
    /// Keys that open EC2 beside those that the metadata service hands out to nodes.
    pub keys: Vec<AccessKey>,
}

/// What is asked of a call's signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signatures {
    /// Every call has one, and it is right: as on AWS.
    #[default]
    Required,
    /// One that is there is right; a call without one comes from outside.
    Optional,
    /// None is looked at, beyond the access key that it names.
    Ignored,
}

/// An access key of somebody who is no node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKey {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

/// What a signature must be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Secret access key.
    pub secret: &'a str,
    /// Session token, which temporary credentials have.
    pub token: Option<&'a str>,
}

impl Default for AccessSpec {
    fn default() -> Self {
        // The example key of AWS's documentation, which everybody knows to open nothing on AWS.
        let key = AccessKey {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        Self { signatures: Signatures::default(), keys: vec![key] }
    }
}
