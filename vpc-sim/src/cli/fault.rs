//! `fault`: adds, lists and removes faults.

use super::{examples, print};
use crate::world::{
    Folder,
    control::{self, Request},
};
use anyhow::Result;
use clap::{
    Args, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use vpc::{
    Action,
    fault::{FaultSpec, FaultStatus, Kind, Span},
};

#[derive(Debug, Subcommand)]
pub(super) enum FaultCommand {
    /// Add a fault and print its number
    #[command(after_help = examples::FAULT_ADD)]
    Add(FaultArgs),
    /// Show the active faults
    #[command(after_help = examples::FAULT_LIST)]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a fault, or all of them
    #[command(after_help = examples::FAULT_CLEAR)]
    Clear {
        /// Number of the fault; all of them without one
        id: Option<u32>,
    },
}

#[derive(Debug, Args)]
pub(super) struct FaultArgs {
    /// What goes wrong
    #[arg(value_parser = kinds())]
    kind: Kind,
    /// Only for this node, or for `outside`: who is on no node
    #[arg(long)]
    node: Option<String>,
    /// Only for calls of this action (throttle, error, deny, lost-reply, slow)
    #[arg(long, value_parser = actions(), hide_possible_values = true)]
    action: Option<Action>,
    /// How often; without end otherwise
    #[arg(long, value_name = "COUNT")]
    calls: Option<u32>,
    /// How long, such as 30s; until it is cleared otherwise
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<Span>,
    /// How likely, from 0 to 1; always otherwise (chaos: 0.1)
    #[arg(long)]
    probability: Option<f64>,
    /// How much later, or for how long (describe-lag, imds-lag, imds-ghosts, device-late)
    #[arg(long, value_name = "TIME")]
    by: Option<Span>,
    /// How many times slower; 10 otherwise (slow)
    #[arg(long)]
    factor: Option<u32>,
    /// EC2's code; `InternalError` otherwise (error)
    #[arg(long)]
    code: Option<String>,
    /// HTTP status; what EC2 sends with the code otherwise (error)
    #[arg(long)]
    status: Option<u16>,
    /// Text (error)
    #[arg(long)]
    message: Option<String>,
    /// Where its randomness begins; the world's seed says otherwise (chaos)
    #[arg(long)]
    seed: Option<u64>,
}

/// Does what the arguments say.
pub(super) fn run(folder: &Folder, command: FaultCommand) -> Result<()> {
    match command {
        FaultCommand::Add(fault) => {
            let request = Request::FaultAdd(Box::new(fault.into()));
            print::faults(&[serde_json::from_value(control::ask(folder, &request)?)?])
        }
        FaultCommand::List { json } => {
            let faults = control::ask(folder, &Request::FaultList)?;
            if json {
                print::json(&faults)
            } else {
                print::faults(&serde_json::from_value::<Vec<FaultStatus>>(faults)?)
            }
        }
        FaultCommand::Clear { id } => control::ask(folder, &Request::FaultClear { id }).map(|_| ()),
    }
}

impl From<FaultArgs> for FaultSpec {
    fn from(args: FaultArgs) -> Self {
        let FaultArgs { kind, node, action, calls, lasts, probability, .. } = args;
        let FaultArgs { by, factor, code, status, message, seed, .. } = args;
        Self {
            kind,
            node,
            action,
            calls,
            lasts,
            probability,
            by,
            factor,
            code,
            status,
            message,
            seed,
        }
    }
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    let values = Kind::ALL.map(|kind| PossibleValue::new(kind.as_str()).help(kind.summary()));
    PossibleValuesParser::new(values).map(|name| {
        let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        known.expect("the parser lets only names of kinds through")
    })
}

/// Names of actions.
pub(super) fn actions() -> impl TypedValueParser<Value = Action> {
    PossibleValuesParser::new(Action::names())
        .map(|name| name.parse::<Action>().expect("the parser lets only names of actions through"))
}
