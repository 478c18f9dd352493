//! Waits for a program, but not for ever.

use std::{
    io::{self, Read, Write},
    process::{Child, ExitStatus, Output},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Between two looks at whether the program has ended: a little of what the shortest takes.
const PAUSE: Duration = Duration::from_millis(1);

/// The most that is read of what a program says: half a million rules of `iptables-save`, several times what
/// kube-proxy makes of the largest clusters.
const LONGEST: u64 = 64 << 20;

/// How long a program may take to end once it was killed. One that the kernel does not let go of is left to
/// it.
const DIES_WITHIN: Duration = Duration::from_secs(1);

/// Gives a program its input, and waits for what it says. Its three pipes must be there. One that takes
/// longer than the limit is killed; what it has started and left behind is not waited for.
pub(crate) fn finish(mut child: Child, input: &str, limit: Duration) -> io::Result<Output> {
    const PIPE: &str = "a pipe was asked for";
    let deadline = Instant::now() + limit;
    let late = || {
        let error = format!("no answer within {} s", limit.as_secs_f32());
        io::Error::new(io::ErrorKind::TimedOut, error)
    };
    let mut stdin = child.stdin.take().expect(PIPE);
    let input = input.to_owned();
    // Each pipe has a thread of its own: whichever fills up, the program goes on. A program that ends
    // without reading says why by itself.
    thread::Builder::new().spawn(move || drop(stdin.write_all(input.as_bytes())))?;
    let stdout = reader(child.stdout.take().expect(PIPE))?;
    let stderr = reader(child.stderr.take().expect(PIPE))?;
    let Some(status) = wait(&mut child, deadline)? else {
        child.kill()?;
        wait(&mut child, Instant::now() + DIES_WITHIN)?;
        return Err(late());
    };
    let text = |pipe: &mpsc::Receiver<io::Result<Vec<u8>>>| {
        let left = deadline.saturating_duration_since(Instant::now());
        pipe.recv_timeout(left).unwrap_or_else(|_| Err(late()))
    };
    Ok(Output { status, stdout: text(&stdout)?, stderr: text(&stderr)? })
}

/// Waits for its end; `None` when that does not come in time.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() < deadline => thread::sleep(PAUSE),
            None => return Ok(None),
        }
    }
}

fn reader(pipe: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more where it was not waited for.
    thread::Builder::new().spawn(move || drop(sender.send(read(pipe))))?;
    Ok(receiver)
}

/// All that a program says. One that says too much ends, as nobody listens any more.
fn read(pipe: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    pipe.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it says more than {LONGEST} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn what_a_program_says_is_read_whatever_it_does_not_read() {
        let long = "x".repeat(1 << 20);

        let output = finish(shell("head -c 1000000 /dev/zero; echo no >&2; exit 3"), &long, LONG);

        let output = output.expect("it ends");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 1_000_000));
        assert_eq!(output.stderr, b"no\n");
    }

    #[test]
    fn a_program_that_says_too_much_is_not_listened_to_any_more() {
        let error = finish(shell("exec cat /dev/zero"), "", LONG).unwrap_err();

        assert_eq!(error.to_string(), "it says more than 67108864 bytes");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let start = Instant::now();

        let error = finish(shell("exec sleep 60"), "", Duration::from_millis(50)).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let start = Instant::now();
        let limit = Duration::from_millis(50);

        let killed = finish(shell("sleep 60; true"), "", limit).unwrap_err();
        let left = finish(shell("sleep 60 & exit 0"), "", limit).unwrap_err();

        assert_eq!(killed.kind(), io::ErrorKind::TimedOut);
        assert_eq!(left.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    }

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let piped = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.spawn().unwrap()
    }
}
