//! The command line.

mod background;
mod examples;
mod exec;
mod fault;
mod group;
mod interface;
mod kube;
mod node;
mod pod;
mod policy;
mod print;
mod up;

use crate::world::{
    DaemonRequest, Folder,
    control::{self, Request},
};
use anyhow::{Result, anyhow};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use fault::FaultCommand;
use group::GroupCommand;
use interface::InterfaceCommand;
use ipnetwork::Ipv4Network;
use kube::KubeCommand;
use node::NodeCommand;
use pod::PodCommand;
use policy::PolicyCommand;
use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};
use up::{End, UpArgs};
use vpc::{Action, calls::CallFilter, fault::Span};

/// The world that is meant when none is named.
const DEFAULT_NAME: &str = "default";

/// How long a daemon may take until it is ready, if nothing else is said: as long as one may wait for
/// a node's first interface on a bad day.
const DAEMON_READY_LIMIT: &str = "1m";

/// A VPC on one Linux machine: EC2, instance metadata, a Kubernetes API, and real packets.
#[derive(Debug, Parser)]
#[command(version, name = "vpc-sim", after_help = examples::PROGRAM)]
struct Cli {
    /// Name of the world
    #[arg(long, global = true, default_value = DEFAULT_NAME, env = "VPC_SIM_NAME")]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a world in the foreground, or with --wait in the background; print one line of JSON when
    /// it is ready
    #[command(after_help = examples::UP)]
    Up {
        #[command(flatten)]
        args: UpArgs,
        /// End it when standard input ends, as it does when who started it is gone
        #[arg(long, conflicts_with = "wait")]
        until_eof: bool,
        /// Run it in the background and return when it is ready, at the latest after TIME
        #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = up::READY_LIMIT)]
        wait: Option<Span>,
    },
    /// End a world and remove what it left
    #[command(after_help = examples::DOWN)]
    Down,
    /// Show the world
    #[command(after_help = examples::STATUS)]
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Boot and terminate nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// Change security groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Say what the role of nodes may do
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Attach interfaces to nodes, as their user does
    #[command(subcommand)]
    Interface(InterfaceCommand),
    /// Run the daemon of a node
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Start and stop pods
    #[command(subcommand)]
    Pod(PodCommand),
    /// Run a command in the network of a node or a pod
    #[command(after_help = examples::EXEC)]
    Exec {
        /// NODE, NODE/POD or NODE/NAMESPACE/POD
        place: String,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Add address blocks to the VPC
    #[command(subcommand)]
    Block(BlockCommand),
    /// Inject faults
    #[command(subcommand)]
    Fault(FaultCommand),
    /// Make Kubernetes odd: a definition is missing, a resource is refused, an object is malformed
    #[command(subcommand)]
    Kube(KubeCommand),
    /// Show EC2 calls by action and node
    #[command(after_help = examples::CALLS)]
    Calls(CallsArgs),
    /// Print a script that completes this program's commands in a shell
    #[command(after_help = examples::COMPLETION)]
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct CallsArgs {
    /// One by one: when, who, what, how it ended, how long it took, and what was asked
    #[arg(long)]
    log: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only those of this node, or of `outside`
    #[arg(long)]
    node: Option<String>,
    /// Only those of this action
    #[arg(long, value_parser = fault::actions(), hide_possible_values = true)]
    action: Option<Action>,
    /// Only those of the last so long, such as 30s
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
}

#[derive(Debug, Subcommand)]
enum BlockCommand {
    /// Add one while nodes run
    #[command(after_help = examples::BLOCK_ADD)]
    Add {
        /// The block, such as 100.65.0.0/16
        block: Ipv4Network,
    },
}

#[derive(Debug, Subcommand)]
enum DaemonCommand {
    /// Start it and print its process id
    #[command(after_help = examples::DAEMON_START)]
    Start {
        /// Name of the node
        node: String,
        #[command(flatten)]
        how: DaemonArgs,
        /// Return when pods can be started, at the latest after TIME: when its network list is
        /// installed, and its plugins that know the CNI verb STATUS are ready
        #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = DAEMON_READY_LIMIT)]
        wait: Option<Span>,
    },
    /// Stop it with SIGTERM
    #[command(after_help = examples::DAEMON_STOP)]
    Stop {
        /// Name of the node
        node: String,
    },
    /// Kill it with SIGKILL
    #[command(after_help = examples::DAEMON_KILL)]
    Kill {
        /// Name of the node
        node: String,
    },
}

#[derive(Debug, Args)]
struct DaemonArgs {
    /// More environment
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = pair, num_args = 1..)]
    env: Vec<(String, String)>,
    /// Leave out a variable that every daemon gets otherwise
    #[arg(long = "unset", value_name = "KEY", num_args = 1..)]
    unset: Vec<String>,
    /// The program; without it, the `ipamd` beside this one
    #[arg(long)]
    bin: Option<PathBuf>,
}

/// Does what the arguments say.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when standard error is closed.
            let _ = writeln!(std::io::stderr(), "vpc-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let folder = Folder::of(&cli.name)?;
    match cli.command {
        Command::Up { args, wait: Some(Span(limit)), .. } => background::up(&folder, &args, limit),
        Command::Up { args, until_eof, wait: None } => {
            let end = if until_eof { End::WithStdin } else { End::WhenTold };
            up::up(&cli.name, &args, end)
        }
        Command::Down => up::down(&folder),
        Command::Status { json } => {
            let status = control::ask(&folder, &Request::Status)?;
            if json {
                print::json(&status)
            } else {
                print::status(&serde_json::from_value(status)?)
            }
        }
        Command::Calls(args) => calls(&folder, args),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vpc-sim", &mut script);
            print::bytes(&script)
        }
        Command::Fault(command) => fault::run(&folder, command),
        Command::Kube(command) => kube::run(&folder, command),
        Command::Block(BlockCommand::Add { block }) => {
            print::answer(&control::ask(&folder, &Request::BlockAdd { block })?)
        }
        Command::Node(command) => print::answer(&control::ask(&folder, &node::request(command))?),
        Command::Group(command) => group::run(&folder, command),
        Command::Policy(command) => policy::run(&folder, command),
        Command::Interface(command) => interface::run(&folder, command),
        Command::Daemon(command) => daemon(&folder, command),
        Command::Pod(command) => pod::run(&folder, command),
        Command::Exec { place, command } => exec::exec(&folder, &place, &command),
    }
}

fn calls(folder: &Folder, args: CallsArgs) -> Result<()> {
    let CallsArgs { log, json, node, action, since } = args;
    let since_ms = since.map(|Span(since)| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let filter = CallFilter { node, action: action.map(|it| it.to_string()), since_ms };
    let request = if log { Request::Calls(filter) } else { Request::CallCounts(filter) };
    let answer = control::ask(folder, &request)?;
    match (json, log) {
        (true, _) => print::json(&answer),
        (false, true) => print::calls(&serde_json::from_value::<Vec<_>>(answer)?),
        (false, false) => print::counts(&serde_json::from_value(answer)?),
    }
}

fn daemon(folder: &Folder, command: DaemonCommand) -> Result<()> {
    let (request, ready) = match command {
        DaemonCommand::Start { node, how: DaemonArgs { env, unset, bin }, wait } => {
            // The world's process has a folder of its own.
            let bin = bin.map(|bin| std::path::absolute(&bin).unwrap_or(bin));
            let env = env.into_iter().collect();
            let ready = wait.map(|limit| Request::DaemonReady { node: node.clone(), limit });
            (Request::DaemonStart(DaemonRequest { node, env, unset, bin }), ready)
        }
        DaemonCommand::Stop { node } => (Request::DaemonStop { node }, None),
        DaemonCommand::Kill { node } => (Request::DaemonKill { node }, None),
    };
    let answer = control::ask(folder, &request)?;
    if let Some(ready) = ready {
        control::ask(folder, &ready)?;
    }
    print::answer(&answer)
}

fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        Some(_) | None => Err(anyhow!("`{text}` is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command that does something, with its words.
    fn commands(command: &clap::Command, words: &str) -> Vec<(String, String)> {
        let path = format!("{words}{} ", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let inner = command.get_subcommands().flat_map(|inner| commands(inner, &path));
        let inner: Vec<_> = inner.collect();
        if inner.is_empty() { vec![(path, help)] } else { inner }
    }

    #[test]
    fn every_command_teaches_by_examples_that_can_be_typed() {
        let mut all = commands(&Cli::command(), "");
        all.push(("vpc-sim ".into(), examples::PROGRAM.into()));

        for (words, help) in all {
            let lines = help.lines().map(str::trim).filter(|line| line.starts_with("vpc-sim "));
            let mut count = 0;
            for line in lines {
                // What is behind spaces is an explanation, what is behind `|` another program.
                let line = line.split("   ").next().unwrap_or_default();
                let typed =
                    line.split(['|', '>', '&']).next().unwrap_or_default().split_whitespace();

                let parsed = Cli::try_parse_from(typed);

                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                assert!(line.starts_with(words.trim_end()), "{line} is no example of {words}");
                count += 1;
            }
            assert!(count > 0, "{words}has no example");
        }
    }

    #[test]
    fn shells_can_complete_commands() {
        for shell in ["bash", "zsh", "fish"] {
            let cli = Cli::try_parse_from(["vpc-sim", "completion", shell]).unwrap();
            let Command::Completion { shell: known } = cli.command else { panic!("{shell}") };
            let mut script = Vec::new();

            clap_complete::generate(known, &mut Cli::command(), "vpc-sim", &mut script);

            let script = String::from_utf8(script).unwrap();
            let whole = script.contains("fault") && script.contains("lost-reply");
            assert!(whole, "{shell}: {script}");
        }
    }

    #[test]
    fn labels_may_follow_one_option_or_each_their_own() {
        for arguments in ["--label a=b c=d", "--label a=b --label c=d"] {
            let line = format!("vpc-sim node add n1 --zone us-west-2a {arguments} --name w");

            let cli = Cli::try_parse_from(line.split(' ')).unwrap();

            let Command::Node(command) = cli.command else { panic!("{line}") };
            let Request::NodeAdd(request) = node::request(command) else { panic!("{line}") };
            let labels = [("a", "b"), ("c", "d")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(request.labels, labels.into(), "{line}");
        }
    }

    #[test]
    fn a_node_needs_a_zone_or_a_subnet() {
        assert!(Cli::try_parse_from(["vpc-sim", "node", "add", "n1"]).is_err());
        assert!(Cli::try_parse_from(["vpc-sim", "node", "add", "n1", "--subnet", "s"]).is_ok());
    }
}
