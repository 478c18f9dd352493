//! A plugin in the place of ours: it notes each call, and passes it on, or does not.

use crate::stock::install_stock;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tests::world::World;

const SCRIPT: &str = include_str!("shim.sh");

/// The folder of plugins with the shim among them, and what it notes.
#[derive(Debug)]
pub(crate) struct Shim(PathBuf);

/// What to do with calls of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Say that it failed.
    Fail,
    /// Carry it out, and say that it failed.
    FailAfter,
    /// Carry it out, and print what is no JSON.
    GarbageAfter,
    /// Do nothing, until killed.
    Hang,
    /// Carry it out and say nothing, until killed.
    HangAfter,
    /// Be killed.
    Killed,
    /// Be killed while it is carried out, so long after it began.
    KilledWithin(Duration),
    /// Carry it out, and be killed.
    KilledAfter,
    /// Wait until told to go on, whatever becomes of the runtime; then carry it out.
    Hold,
}

/// A call, as the runtime made it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) stdin: Value,
}

impl Shim {
    /// Puts a shim before the plugin of a node.
    pub(crate) fn new(world: &World, node: &str) -> Self {
        let folder = world.node_folder(node).log().join("shim");
        let shim = Self(folder);
        for below in ["calls", "orders"] {
            fs::create_dir_all(shim.0.join(below)).unwrap();
        }
        install_stock(&shim.plugins());
        let real = world.node_folder(node).cni_bin().join("aws-cni");
        let script = SCRIPT
            .replace("@FOLDER@", shim.0.to_str().unwrap())
            .replace("@REAL@", real.to_str().unwrap());
        let path = shim.plugins().join("aws-cni");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        shim
    }

    /// The folder of plugins.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// Orders what becomes of calls of a verb from now on.
    pub(crate) fn order(&self, verb: &str, order: Order) {
        let text = match order {
            Order::Fail => "fail".into(),
            Order::FailAfter => "fail-after".into(),
            Order::GarbageAfter => "garbage-after".into(),
            Order::Hang => "hang".into(),
            Order::HangAfter => "hang-after".into(),
            Order::Killed => "killed".into(),
            Order::KilledWithin(after) => format!("killed-within {}", after.as_secs_f64()),
            Order::KilledAfter => "killed-after".into(),
            Order::Hold => "hold".into(),
        };
        fs::write(self.order_of(verb), text).unwrap();
    }

    /// Passes calls of a verb on again.
    pub(crate) fn obey(&self, verb: &str) {
        fs::remove_file(self.order_of(verb)).unwrap();
    }

    /// Tells those that hold to go on.
    pub(crate) fn go_on(&self) {
        fs::write(self.0.join("go"), "").unwrap();
    }

    /// All calls so far, in their order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let entries = fs::read_dir(self.0.join("calls")).unwrap().flatten().map(|it| it.path());
        let mut envs: Vec<_> =
            entries.filter(|it| it.extension().is_some_and(|it| it == "env")).collect();
        envs.sort();
        envs.iter().map(|env| Call::read(env)).collect()
    }

    fn order_of(&self, verb: &str) -> PathBuf {
        self.0.join("orders").join(verb)
    }
}

impl Call {
    fn read(env: &Path) -> Self {
        let lines = fs::read_to_string(env).unwrap();
        let pairs = lines.lines().filter_map(|line| line.split_once('='));
        let stdin = fs::read(env.with_extension("stdin")).unwrap();
        Self {
            env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            stdin: serde_json::from_slice(&stdin).unwrap_or_default(),
        }
    }

    /// A variable, or the empty text.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.env.get(name).map_or("", String::as_str)
    }

    /// What it was called for.
    pub(crate) fn verb(&self) -> &str {
        self.variable("CNI_COMMAND")
    }
}
