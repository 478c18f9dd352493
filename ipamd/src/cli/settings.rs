//! `ipamd settings`: the table of settings, or what becomes of those of a DaemonSet.

use crate::settings::{self, Outcome, Verdict, manifest::Environment};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Prints the table, or judges a file.
///
/// # Errors
/// The file cannot be judged.
pub(super) fn run(check: Option<PathBuf>) -> Result<ExitCode> {
    let Some(file) = check else {
        super::print(&settings::table());
        return Ok(ExitCode::SUCCESS);
    };
    let text = read(&file).with_context(|| format!("read {}", file.display()))?;
    let environments = settings::manifest::environments(&text)
        .with_context(|| format!("find the daemon's environment in {}", file.display()))?;
    let mut refused = 0;
    let mut warned = 0;
    for environment in &environments {
        for line in judged(environment) {
            refused += usize::from(line.says == REFUSED);
            warned += usize::from(line.says == WARNING);
            let container = environment.container.as_ref().map(|it| format!("{it}: "));
            let container = container.unwrap_or_default();
            let Line { number, says, text } = line;
            super::print(&format!("{}:{number}: {container}{says}: {text}\n", file.display()));
        }
    }
    let starts = if refused == 0 { "the daemon starts" } else { "the daemon does not start" };
    super::print(&format!("{starts}: {refused} refused, {warned} warnings\n"));
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> Result<String> {
    if file.as_os_str() != "-" {
        return Ok(fs::read_to_string(file)?);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

const OK: &str = "ok";
const WARNING: &str = "warning";
const REFUSED: &str = "refused";

/// What is printed for one variable.
struct Line {
    number: u64,
    says: &'static str,
    text: String,
}

/// What becomes of each variable, in the order of lines.
fn judged(environment: &Environment) -> Vec<Line> {
    let set = environment.set.iter().map(|(name, (value, _))| (name.clone(), value.clone()));
    let verdicts = settings::judge(&set.collect::<BTreeMap<_, _>>());
    let of_verdict = |verdict: &Verdict| {
        let says = match verdict.outcome {
            Outcome::Works | Outcome::Accepted(_) => OK,
            Outcome::NotActedOn(_) | Outcome::Unknown(_) => WARNING,
            Outcome::Refused(_) => REFUSED,
        };
        let number = environment.set.get(&verdict.name).map_or(0, |(_, line)| *line);
        Line { number, says, text: verdict.to_string() }
    };
    let told = |says| {
        move |(number, text): &(u64, String)| Line { number: *number, says, text: text.clone() }
    };
    let mut lines: Vec<_> = verdicts.iter().map(of_verdict).collect();
    lines.extend(environment.unknown.iter().map(told(WARNING)));
    lines.extend(environment.wrong.iter().map(told(REFUSED)));
    lines.sort_by_key(|line| line.number);
    lines
}
