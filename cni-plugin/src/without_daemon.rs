//! The plugin's answers when the daemon does not answer.

use cni::{Code, Command, Error};
use record::spool;
use rpc::{CallError, Reply, Request};
use std::{fs, path::Path};

/// What an operator can look at; the pod's event shows it.
const LOOK_AT: &str = "kubectl -n kube-system get pods -l k8s-app=aws-node -o wide";

/// Whether this node was handed back to the peer: no daemon of ours serves it.
pub(crate) fn is_handed_back(run_dir: &Path) -> bool {
    run_dir.join(rpc::HANDED_BACK).exists()
}

/// The error for a verb that needs the daemon.
pub(crate) fn error(command: Command, run_dir: &Path, cause: &CallError) -> Error {
    // CNI 1.1.0, "STATUS": 50, the plugin is not available (i.e. cannot service ADD requests).
    let code = match command {
        Command::Status => Code::NotAvailable,
        Command::Add | Command::Del | Command::Check | Command::Gc | Command::Version => {
            Code::TryAgainLater
        }
    };
    let socket = run_dir.join(rpc::SOCKET_NAME);
    let socket = socket.display();
    let msg = match cause {
        CallError::NobodyListens(_) | CallError::Broken(_) if is_handed_back(run_dir) => {
            "this node was handed back, and no daemon serves it: start amazon-vpc-cni-k8s here, or run `ipamd take-over`".into()
        }
        CallError::NobodyListens(cause) => {
            format!(
                "cannot reach ipamd at {socket}: {cause}; is it running on this node? {LOOK_AT}"
            )
        }
        CallError::Broken(cause) => {
            format!("ipamd at {socket} left without an answer: {cause}; did it restart? {LOOK_AT}")
        }
        CallError::NoAnswer(waited) => {
            let seconds = waited.as_secs();
            format!("ipamd at {socket} did not answer within {seconds} s; is it stuck? {LOOK_AT}")
        }
        CallError::Unsendable(cause) => format!("cannot ask ipamd: {cause}"),
    };
    Error::new(code, msg)
}

/// Keeps a DEL in the spool for the next daemon, so that the pod can end now and its address is
/// released once a daemon runs. `call_again` reaches a daemon that has read the spool just before;
/// `kept` is told when none was.
pub(crate) fn keep_del(
    run_dir: &Path,
    request: &Request,
    call_again: impl FnOnce() -> Result<Reply, CallError>,
    kept: impl FnOnce(),
) -> Result<Reply, Error> {
    let file = spool::write(run_dir, request).map_err(|cause| {
        let folder = run_dir.display();
        let msg =
            format!("cannot reach ipamd, nor keep this DEL for it in {folder}: {cause}; {LOOK_AT}");
        Error::new(Code::TryAgainLater, msg)
    })?;
    match call_again() {
        Ok(reply) => {
            // If it stays, the DEL is repeated at the daemon's next start, which is harmless: a
            // runtime gives every new container a new id.
            let _ = fs::remove_file(file);
            Ok(reply)
        }
        Err(_) => {
            kept();
            Ok(Reply { exit_code: 0, stdout: String::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io, process, time::Duration};

    #[test]
    fn a_del_that_a_new_daemon_took_waits_no_longer() {
        let run = std::env::temp_dir().join(format!("eni-keep-{}", process::id()));
        let done = Reply { exit_code: 0, stdout: String::new() };
        let waiting = || spool::drain(&run).unwrap().len();
        let request = Request::default();

        let mut told = 0;
        let kept = keep_del(&run, &request, || Err(nobody()), || told += 1).unwrap();
        let after_nobody = waiting();
        let taken = keep_del(&run, &request, || Ok(done.clone()), || told += 1).unwrap();
        let after_daemon = waiting();
        let _ = fs::remove_dir_all(&run);

        assert_eq!((kept, taken), (done.clone(), done));
        assert_eq!((after_nobody, after_daemon, told), (1, 0, 1));
    }

    #[test]
    fn every_cause_names_the_socket_and_what_to_look_at() {
        let run_dir = Path::new("/var/run/aws-node");
        let broken = CallError::Broken(io::ErrorKind::UnexpectedEof.into());

        for cause in [nobody(), broken, CallError::NoAnswer(Duration::from_secs(90))] {
            let msg = error(Command::Add, run_dir, &cause).msg;

            assert!(msg.contains("/var/run/aws-node/eni-cni.sock"), "{cause:?}: {msg}");
            assert!(msg.contains("kubectl -n kube-system get pods"), "{cause:?}: {msg}");
        }
    }

    fn nobody() -> CallError {
        CallError::NobodyListens(io::ErrorKind::ConnectionRefused.into())
    }
}
