//! The program `nft` hangs: it is killed and told, nobody waits with it, and what it was to do is done later.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tests::{
    command::{outcome, until},
    world::World,
};

const ENV: &[&str] = &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0"];

#[test]
fn filter_rules_that_a_hung_nft_does_not_put_back_are_back_once_it_works_and_pods_start_meanwhile()
{
    let world = World::up();
    world.node_add("n1", "us-west-2a", &[]);
    let nft = Nft::new(&world);
    world.daemon_start("n1", &[ENV, &[&nft.path]].concat());
    let first = world.pod_add("n1", "first");
    nft.hangs();

    outcome(&world.exec("n1", &["nft", "delete", "table", "ip", "eni-cni"], &[], "")).unwrap();
    until("it hangs", || if nft.runs().is_empty() { Err("none".into()) } else { Ok(()) });
    let second = world.pod_add("n1", "second");
    world.pod_rm(&first);

    until("it is told", || {
        let log = world.log("n1");
        let told = log.lines().any(|line| {
            line.contains("failed to repair the network; try again")
                && line.contains("nft --stateless list table ip eni-cni: no answer within 30 s")
        });
        if told { Ok(()) } else { Err(log) }
    });
    nft.works();
    until("the rules are back", || {
        let table = world.exec("n1", &["nft", "list", "table", "ip", "eni-cni"], &[], "");
        outcome(&table).map(drop)
    });
    until("none hangs still", || if nft.runs().is_empty() { Ok(()) } else { Err("some".into()) });
    world.seen_on_the_internet(&second.namespace);
}

#[test]
fn a_start_with_a_hung_nft_says_so_and_serves_once_it_works() {
    let world = World::with_node("n1", ENV);
    let pod = world.pod_add("n1", "before");
    world.daemon_stop("n1");
    let nft = Nft::new(&world);
    nft.hangs();

    world.sim(&["daemon", "start", "n1", "--env", &nft.path, "--env", ENV[0], "--env", ENV[1]]);

    let container = tests::by_hand::Container::new(&world);
    let status = until("STATUS tells", || {
        let status = world.plugin("n1", "STATUS", &container, "1.1.0");
        let msg = status.printed["msg"].as_str().unwrap_or_default().to_owned();
        if msg.contains("nft --stateless list table") { Ok(msg) } else { Err(msg) }
    });
    assert!(status.contains("it has tried to look at the network: "), "{status}");
    nft.works();
    let comes = until("a pod starts", || world.try_pod_add("n1", "comes"));
    world.everybody_reaches_everybody(&[pod, comes]);
}

#[test]
fn a_start_with_a_hung_nft_ends_on_a_signal() {
    let world = World::with_node("n1", ENV);
    world.daemon_stop("n1");
    let ends = "ends on a signal";
    let before = world.log("n1").matches(ends).count();
    let nft = Nft::new(&world);
    nft.hangs();
    world.sim(&["daemon", "start", "n1", "--env", &nft.path, "--env", ENV[0], "--env", ENV[1]]);
    until("it hangs", || if nft.runs().is_empty() { Err("none".into()) } else { Ok(()) });

    world.daemon_stop("n1");

    assert_eq!(world.log("n1").matches(ends).count(), before + 1, "{}", world.log("n1"));
}

/// A program `nft` that hangs when it is to, before that of the machine.
struct Nft {
    folder: PathBuf,
    /// For the environment.
    path: String,
}

impl Nft {
    fn new(world: &World) -> Self {
        let folder = env::temp_dir().join(format!("{}-nft", world.name()));
        fs::create_dir_all(&folder).unwrap();
        let path = env::var("PATH").unwrap();
        let hangs = folder.join("hangs");
        let script = format!(
            "#!/bin/bash\nPATH='{path}'\n[ -e {0} ] && exec -a {0} sleep 600\nexec nft \"$@\"\n",
            hangs.display()
        );
        let program = folder.join("nft");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("PATH={}:{path}", folder.display());
        Self { folder, path }
    }

    fn hangs(&self) {
        fs::write(self.folder.join("hangs"), "").unwrap();
    }

    fn works(&self) {
        fs::remove_file(self.folder.join("hangs")).unwrap();
    }

    /// Processes that hang.
    fn runs(&self) -> Vec<PathBuf> {
        let name = self.folder.join("hangs").display().to_string();
        let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let named = |path: &Path| {
            let arguments = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            arguments.starts_with(&name)
        };
        all.filter(|path| named(path)).collect()
    }
}

impl Drop for Nft {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
