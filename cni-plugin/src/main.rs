//! The CNI executable: carries a request to the daemon and prints what comes back.

mod carry;
mod without_daemon;

use cni::{Code, Command, Error, Version};
use record::plugin_log::{self, Level};
use rpc::Reply;
use std::{
    collections::BTreeMap,
    env,
    io::{self, Read, Write},
    process::ExitCode,
};

/// The only place that prints or exits.
fn main() -> ExitCode {
    let env = cni_variables();
    if env.get("CNI_COMMAND").is_none_or(String::is_empty) {
        // As the reference library does when a plugin is run by hand.
        let spoken = Version::ALL.map(Version::as_str).join(", ");
        let version = env!("CARGO_PKG_VERSION");
        let about = format!("AWS CNI {version}\nCNI protocol versions supported: {spoken}\n");
        return written(io::stderr().write_all(about.as_bytes()), 0);
    }
    let Reply { exit_code, stdout } = answer(env);
    let mut out = io::stdout().lock();
    written(out.write_all(stdout.as_bytes()).and_then(|()| out.flush()), exit_code)
}

fn written(result: io::Result<()>, exit_code: u8) -> ExitCode {
    // Nobody reads the output: only the exit status can still report that.
    if result.is_ok() { exit_code.into() } else { ExitCode::FAILURE }
}

fn answer(env: BTreeMap<String, String>) -> Reply {
    let command = match Command::parse(&env) {
        Ok(command) => command,
        Err(error) => return refuse(&error, &[]),
    };
    let stdin = match read_stdin() {
        Ok(stdin) => stdin,
        // CNI 1.1.0, "VERSION": what is on stdin does not decide whether we answer.
        Err(_) if command == Command::Version => Vec::new(),
        Err(error) => return refuse(&for_verb(command, error), &[]),
    };
    if command == Command::Version {
        return Reply { exit_code: 0, stdout: cni::version_reply(&stdin) };
    }
    let result = cni::Request::parse(&env, &stdin)
        .and_then(|request| carry::open(env, &stdin, &request))
        .and_then(|opened| carry::ask(command, opened));
    result.unwrap_or_else(|error| {
        let error = for_verb(command, error);
        note(command, &stdin, Level::Error, "failed to carry out a request", &error.msg);
        refuse(&error, &stdin)
    })
}

/// Adds a line to the plugin's log. What the daemon answers it writes there itself.
fn note(command: Command, stdin: &[u8], level: Level, message: &str, error: &str) {
    // A runtime asks for it every few seconds.
    if command == Command::Status {
        return;
    }
    let env = cni_variables();
    let of = |name: &str| env.get(name).map_or("", String::as_str);
    let fields = [
        ("verb", command.as_str()),
        ("container", of("CNI_CONTAINERID")),
        ("ifname", of("CNI_IFNAME")),
        ("netns", of("CNI_NETNS")),
        ("args", of("CNI_ARGS")),
        ("error", error),
    ];
    plugin_log::append(stdin, level, message, &fields);
}

/// The error of a DEL must never read as if the pod were gone: containerd would take it for
/// success.
fn for_verb(command: Command, error: Error) -> Error {
    if command == Command::Del { error.for_del() } else { error }
}

/// The error in the version of the configuration.
fn refuse(error: &Error, stdin: &[u8]) -> Reply {
    let version = cni::stated_version(stdin).map(Version::as_str);
    Reply { exit_code: 1, stdout: error.to_json(version) }
}

fn cni_variables() -> BTreeMap<String, String> {
    env::vars_os()
        .map(|(name, value)| {
            // Bytes that are not UTF-8 become characters that every check refuses.
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .filter(|(name, _)| name.starts_with("CNI_"))
        .collect()
}

fn read_stdin() -> Result<Vec<u8>, Error> {
    let mut stdin = Vec::new();
    let read = io::stdin().take(rpc::MAX_STDIN as u64 + 1).read_to_end(&mut stdin);
    match read {
        Ok(length) if length > rpc::MAX_STDIN => {
            Err(Error::new(Code::Io, "error reading from stdin: more than 16 MiB"))
        }
        Ok(_) => Ok(stdin),
        Err(error) => Err(Error::new(Code::Io, format!("error reading from stdin: {error}"))),
    }
}
