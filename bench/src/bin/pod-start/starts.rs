//! What it costs to start the plugin, beside a program that only ends and the stock plugins.

use crate::{
    contest::quantile,
    cost::{self, Memory},
    empty,
    run::Call,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Starts of each.
const TURNS: usize = 150;

/// A daemon that waits for nobody longer than this.
const RECEIVE: Duration = Duration::from_secs(5);

/// What an ADD of ours prints, give or take a letter.
const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eni0d7763386da","mac":"0e:10:64:40:00:09"},{"name":"eth0","mac":"0e:11:64:40:00:09","mtu":9001,"sandbox":"/run/netns/cni-00000000-0000-0000-0000-000000000000"}],"ips":[{"address":"100.64.0.9/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}],"dns":{}}"#;

/// A process that is started again and again.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    /// What it is.
    pub(crate) what: String,
    /// Bytes on disk.
    pub(crate) size: u64,
    /// From start to end, in microseconds: the least, half of them, nearly all.
    pub(crate) took: [f64; 3],
}

/// The plugin just before it prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plugin {
    pub(crate) memory: Memory,
    pub(crate) faults: u64,
}

/// Starts all of them, interleaved. `call` is an ADD of ours.
pub(crate) fn measure(call: &Call, stock: &Path, folder: &Path) -> (Vec<Started>, Plugin) {
    let empty = folder.join("empty");
    empty::write(&empty).unwrap();
    let alone = folder.join("alone");
    fs::create_dir(&alone).unwrap();
    let version = |program: PathBuf| Call { program, verb: "VERSION", ..call.clone() };
    let with_nobody = Call { run_dir: alone.clone(), ..call.clone() };
    let runs = [
        ("nothing: a program that only ends", version(empty)),
        ("aws-cni, VERSION", version(call.program.clone())),
        ("aws-cni, ADD with a daemon that answers at once", with_nobody),
        ("ptp, VERSION", version(stock.to_owned())),
        ("host-local, VERSION", version(stock.with_file_name("host-local"))),
    ];
    let mut times = runs.each_ref().map(|_| vec![]);
    let plugin = with_daemon(&alone, || {
        for _ in 0..TURNS {
            for ((_, call), times) in runs.iter().zip(&mut times) {
                times.push(call.run().0);
            }
        }
    });
    let started = runs.iter().zip(&mut times).map(|((what, call), times)| {
        times.sort();
        Started {
            what: (*what).into(),
            size: cost::size(&call.program),
            took: [0.0, 0.5, 0.99].map(|part| quantile(times, part)),
        }
    });
    (started.collect(), plugin)
}

/// Answers every call at once; looks at who called before that.
fn with_daemon(folder: &Path, act: impl FnOnce()) -> Plugin {
    let listener = rpc::Listener::bind(&folder.join(rpc::SOCKET_NAME)).unwrap();
    let over = AtomicBool::new(false);
    let seen = Mutex::new(None::<Plugin>);
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let connection = listener.accept().unwrap();
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let caller = connection.credentials().unwrap().pid;
                let _request = connection.receive(RECEIVE).unwrap();
                let mut seen = seen.lock().unwrap();
                // Once: looking takes time.
                seen.get_or_insert_with(|| Plugin {
                    memory: Memory::of(caller),
                    faults: cost::faults(caller),
                });
                let reply = rpc::Reply { exit_code: 0, stdout: RESULT.into() };
                connection.reply(&reply).unwrap();
            }
        });
        act();
        over.store(true, Ordering::Relaxed);
        // The last call wakes it up.
        let last = rpc::call(&folder.join(rpc::SOCKET_NAME), &rpc::Request::default(), RECEIVE);
        assert!(last.is_err(), "{last:?}");
    });
    seen.into_inner().unwrap().expect("the plugin called")
}
