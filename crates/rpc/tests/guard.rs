//! Two daemons that want to serve one node.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use rpc::{GuardError, guard};
use std::{os::fd::AsRawFd, process};

#[test]
fn the_second_is_refused_and_told_who_is_there_however_often_it_asks() {
    let name = format!("eni-cni-test-{}-second", process::id());
    guard(&name).unwrap();

    for _ in 0..300 {
        let refused = guard(&name).unwrap_err();

        let GuardError::Taken { pid } = refused else { panic!("{refused}") };
        assert_eq!(pid, i32::try_from(process::id()).unwrap());
        assert_eq!(refused.to_string(), format!("another ipamd runs on this node, process {pid}"));
    }
}

#[test]
fn a_name_whose_holder_does_not_say_who_it_is_is_no_other_daemons() {
    let name = format!("eni-cni-test-{}-mute", process::id());
    let mute =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    bind(mute.as_raw_fd(), &address).unwrap();

    assert!(matches!(guard(&name), Err(GuardError::Io(_))));

    drop(mute);
    guard(&name).unwrap();
}
