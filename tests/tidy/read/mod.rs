//! Reads a target of a crate: which file takes which names from which.

mod names;
mod paths;
mod tests;
mod tokens;

use crate::files::{metadata, read_if_there};
use ::tests::repository;
use names::Modules;
use proc_macro2::TokenStream;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::LazyLock,
};

/// A library, a program or a test of a crate, as read.
#[derive(Debug)]
pub(crate) struct Target {
    /// The crate that it belongs to.
    pub(crate) package: String,
    /// Who takes what from whom, and the methods of types; without what only tests do.
    pub(crate) reading: Reading,
    /// The names of other crates, those that tests name too.
    pub(crate) foreign: BTreeSet<Foreign>,
}

/// What the files of a target say.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) arrows: BTreeSet<Arrow>,
    pub(crate) foreign: BTreeSet<Foreign>,
    /// How many methods a type has outside of traits, in whichever files they are written.
    pub(crate) methods: BTreeMap<Item, usize>,
}

/// A file takes a name from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) name: String,
}

/// A file names another crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Foreign {
    pub(crate) file: String,
    pub(crate) name: String,
}

/// Something with a name, and where it is defined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) file: String,
    pub(crate) module: Vec<String>,
    pub(crate) name: String,
}

/// All targets of the workspace, read once.
pub(crate) fn targets() -> &'static [Target] {
    static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let packages = list(&metadata()["packages"]);
        let roots = packages.iter().flat_map(|package| {
            let targets = list(&package["targets"]);
            targets.into_iter().map(|target| (&package["name"], target["src_path"].clone()))
        });
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        roots.map(|(package, root)| read_target(word(package), &word(&root))).collect()
    });
    &TARGETS
}

fn read_target(package: String, root: &str) -> Target {
    let root = Path::new(root).strip_prefix(repository()).ok().and_then(Path::to_str);
    let root = root.unwrap_or_else(|| panic!("{package} has a target outside of the repository"));
    let all = |path: &str| read_if_there(path).map(|text| tokens::parse(path, &text));
    let without_tests = |path: &str| all(path).map(tokens::without_tests);
    let reading = Reading::of(root, &without_tests);
    Target { package, reading, foreign: Reading::of(root, &all).foreign }
}

impl Reading {
    /// Reads the module in the file `root` and those that it declares. `text` gives the tokens of
    /// the file with a path, if there is one.
    fn of(root: &str, text: &dyn Fn(&str) -> Option<TokenStream>) -> Self {
        paths::read(&Modules::below(root, text))
    }
}
