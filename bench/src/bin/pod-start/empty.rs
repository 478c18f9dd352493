//! A program that only ends: what the kernel takes to start and end any process.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

/// Where it is loaded.
const BASE: u64 = 0x40_0000;

/// Bytes of the two headers (`elf(5)`).
const HEADERS: u64 = 64 + 56;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
/// `xor edi, edi; mov eax, 60 (exit); syscall`
#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];

#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
/// `mov x0, 0; mov x8, 93 (exit); svc 0`
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

/// Writes the program.
///
/// # Errors
/// What the kernel says.
pub(crate) fn write(path: &Path) -> io::Result<()> {
    fs::write(path, elf())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// A static executable of one segment (`elf(5)`).
fn elf() -> Vec<u8> {
    let size = HEADERS + CODE.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
    let word = |elf: &mut Vec<u8>, value: u32| elf.extend(value.to_le_bytes());
    let long = |elf: &mut Vec<u8>, value: u64| elf.extend(value.to_le_bytes());
    // Executable, machine, version, entry, program headers, no section headers, flags.
    half(&mut elf, 2);
    half(&mut elf, MACHINE);
    word(&mut elf, 1);
    long(&mut elf, BASE + HEADERS);
    long(&mut elf, 64);
    long(&mut elf, 0);
    word(&mut elf, 0);
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut elf, value);
    }
    // One segment, readable and executable: all of the file.
    word(&mut elf, 1);
    word(&mut elf, 5);
    for value in [0, BASE, BASE, size, size, 0x1000] {
        long(&mut elf, value);
    }
    elf.extend_from_slice(CODE);
    elf
}
