//! Reads the repository.

use serde_json::Value;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};
use tests::repository;

pub(crate) fn metadata() -> Value {
    let text = cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn read(path: &str) -> String {
    read_if_there(path).unwrap_or_else(|| panic!("{path} does not exist"))
}

pub(crate) fn read_if_there(path: &str) -> Option<String> {
    match fs::read_to_string(repository().join(path)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Every Rust file: its path and its text.
pub(crate) fn sources() -> Vec<(String, String)> {
    files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

/// Every file of text in the repository: its path from there, and its text.
pub(crate) fn files() -> Vec<(String, String)> {
    let text = |path: PathBuf| {
        let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
        let path = path.strip_prefix(repository()).unwrap();
        Some((path.to_str().unwrap().to_owned(), text))
    };
    let found: Vec<_> = below(repository()).into_iter().filter_map(text).collect();
    assert!(
        found.iter().any(|(path, _)| path == "tests/tidy/files.rs"),
        "the repository is not found"
    );
    found
}

/// Every file below a folder, without what is built.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        // Cargo marks its target folders with this file.
        let is_built = path.join("CACHEDIR.TAG").exists() || entry.file_name() == "target";
        if entry.file_type().unwrap().is_file() {
            found.push(path);
        } else if path.is_dir() && !is_built && entry.file_name() != ".git" {
            found.extend(below(&path));
        }
    }
    found
}
