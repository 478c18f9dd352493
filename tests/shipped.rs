//! What is shipped: the plugin, built for it and looked at, and what builds the image.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};
use tests::repository;

/// The most that the plugin may have on disk, in bytes: it is read for every verb of every pod.
const SIZE: u64 = 1 << 20;

/// The same where only the machine's own C library can be linked: that is half of it.
const SIZE_WITH_LARGE_LIBRARY: u64 = 3 << 19;

/// The kind of the segment that names the loader of a dynamic program (`elf(5)`, `PT_INTERP`).
const INTERPRETER: u32 = 3;

#[test]
fn the_plugin_needs_no_library_of_the_node_and_is_small() {
    let plugin = shipped();

    let program = fs::read(&plugin).unwrap();

    assert!(is_static(&program), "{} needs a loader", plugin.display());
    let small = plugin.to_string_lossy().contains("-musl/");
    let limit = if small { SIZE } else { SIZE_WITH_LARGE_LIBRARY };
    let size = program.len() as u64;
    assert!(size <= limit, "{} has {size} bytes, more than {limit}", plugin.display());
}

#[test]
fn the_shipped_plugin_answers() {
    let plugin = shipped();

    let output = Command::new(plugin).env_clear().env("CNI_COMMAND", "VERSION").output().unwrap();

    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success());
    assert_eq!(printed["supportedVersions"].as_array().unwrap().last().unwrap(), "1.1.0");
}

#[test]
fn a_program_with_a_loader_is_not_static() {
    let test = fs::read("/proc/self/exe").unwrap();

    assert!(!is_static(&test));
}

#[test]
fn the_image_is_built_by_an_engine_that_works() {
    let (works, fails) =
        ("exit 0", "[ \"$1\" != info ] || { echo no daemon of \"$0\" >&2; exit 1; }");

    for (docker, podman, builds) in
        [(works, works, "docker"), (works, fails, "docker"), (fails, works, "podman")]
    {
        let (output, said) = make_image(docker, podman);

        assert!(output.status.success(), "{said}");
        assert!(said.contains(&format!("{builds} does build --tag eni-cni:latest .")), "{said}");
    }
    let (output, said) = make_image(fails, fails);
    assert!(!output.status.success(), "{said}");
    for engine in ["docker", "podman"] {
        assert!(said.contains(&format!("`{engine} info` fails: no daemon of ")), "{said}");
    }
    assert!(!said.contains("does build"), "{said}");
}

/// `make image` where docker and podman are these scripts, and all that it said.
fn make_image(docker: &str, podman: &str) -> (Output, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("engines-{}-{count}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for (engine, script) in [("docker", docker), ("podman", podman)] {
        let path = folder.join(engine);
        fs::write(&path, format!("#!/bin/sh\necho {engine} does \"$@\"\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = Command::new("make")
        .args(["--no-print-directory", "image", "IMAGE=eni-cni:latest"])
        .current_dir(repository())
        .env("PATH", path)
        .output()
        .unwrap();
    fs::remove_dir_all(folder).unwrap();
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    (output, said)
}

/// Builds it, and returns where it is. What it must be built with is said on standard error.
fn shipped() -> PathBuf {
    let script = repository().join("scripts/plugin");
    let output = Command::new(&script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", script.display());
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Whether an executable of 64 bits, little endian, runs without a loader (`elf(5)`).
fn is_static(elf: &[u8]) -> bool {
    assert!(elf.starts_with(b"\x7fELF\x02\x01"), "no executable of a known kind");
    let number = |at: usize, bytes: usize| {
        elf[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!(count > 0, "no segments");
    (0..count).all(|segment| number(first + segment * size, 4) != INTERPRETER as usize)
}
