//! The image of all pods, made of the machine's own busybox: nothing is downloaded.

use serde_json::json;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    sync::OnceLock,
};
use tests::command::{outcome, run};

/// Its name, in a registry that does not exist.
pub(crate) const NAME: &str = "localhost/pod:test";

/// A program without libraries that is many programs.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// What tests run in containers.
const PROGRAMS: [&str; 6] = ["hostname", "httpd", "ip", "sh", "sleep", "wget"];

/// What a pod says when it is asked: who it is, and who asks.
const ANSWER: &str = r#"#!/bin/sh
source=${REMOTE_ADDR##*:}
printf 'Content-Type: application/json\r\n\r\n{"pod":"%s","source":"%s"}' "$(hostname)" "${source%]}"
"#;

/// The image as runtimes import it, in the format of `docker save`.
pub(crate) fn archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("image-{}", std::process::id()));
        make(&folder);
        let archive = fs::read(folder.join("image.tar")).unwrap();
        fs::remove_dir_all(folder).unwrap();
        archive
    })
}

fn make(folder: &Path) {
    let root = folder.join("root");
    for below in ["bin", "etc", "proc", "sys", "dev", "tmp", "www/cgi-bin"] {
        fs::create_dir_all(root.join(below)).unwrap();
    }
    let busybox = BUSYBOX.iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.expect("install busybox-static (Debian)"), root.join("bin/busybox")).unwrap();
    for program in PROGRAMS {
        symlink("busybox", root.join("bin").join(program)).unwrap();
    }
    // What busybox runs for `/` when there is no file.
    let answer = root.join("www/cgi-bin/index.cgi");
    fs::write(&answer, ANSWER).unwrap();
    fs::set_permissions(&answer, fs::Permissions::from_mode(0o755)).unwrap();

    let at = |path: &Path| path.to_str().unwrap().to_owned();
    say(
        "tar",
        &["-C", &at(&root), "--owner=0", "--group=0", "-cf", &at(&folder.join("layer.tar")), "."],
    );
    let sum = say("sha256sum", &[&at(&folder.join("layer.tar"))]);
    let sum = sum.split(' ').next().unwrap();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/httpd", "-f", "-h", "/www"],
            "Env": ["PATH=/bin"],
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"] }]);
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    let parts = ["manifest.json", "config.json", "layer.tar"];
    say("tar", &[&["-C", &at(folder), "-cf", &at(&folder.join("image.tar"))], &parts[..]].concat());
}

fn say(program: &str, arguments: &[&str]) -> String {
    let ended = outcome(&run(Command::new(program).args(arguments), ""));
    ended.unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"))
}
