//! The verbs of the specification, and what each needs in its environment.

use crate::{Code, Error};
use std::{collections::BTreeMap, fmt};

/// The verbs of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect a container.
    Add,
    /// Undo ADD.
    Del,
    /// Is what ADD made still there?
    Check,
    /// Remove what belongs to no container any more.
    Gc,
    /// Could ADD be served now?
    Status,
    /// Which versions do you speak?
    Version,
}

impl Command {
    /// As it stands in `CNI_COMMAND`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The verb in `CNI_COMMAND`.
    ///
    /// # Errors
    /// [`Code::InvalidEnvironment`] when there is none or it is unknown.
    pub fn parse(env: &BTreeMap<String, String>) -> Result<Self, Error> {
        let Some(stated) = variable(env, "CNI_COMMAND") else {
            return Err(missing(&["CNI_COMMAND"]));
        };
        [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version]
            .into_iter()
            .find(|command| command.as_str() == stated)
            .ok_or_else(|| {
                Error::new(Code::InvalidEnvironment, format!("unknown CNI_COMMAND: {stated}"))
            })
    }

    /// Variables without which the verb has no meaning. `CNI_PATH` is optional in the
    /// specification, and nothing is delegated.
    pub(crate) fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Gc | Self::Status | Self::Version => &[],
        }
    }

    /// The verb is about one interface of one container.
    pub(crate) fn is_about_an_attachment(self) -> bool {
        !self.required().is_empty()
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A variable that is set, and not to nothing.
pub(crate) fn variable<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// What to say when variables are missing.
pub(crate) fn missing(names: &[&str]) -> Error {
    let msg = format!("required env variables [{}] missing", names.join(","));
    Error::new(Code::InvalidEnvironment, msg)
}
