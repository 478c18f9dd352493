#!/usr/bin/env python3
"""Archives of images, as `docker save` writes them, made of this machine's files: no registry is asked.

    images.py pod OUT                          a pod that serves
    images.py cluster OUT IPAMD AWS_CNI [PLUGINS]
                                               the sandbox, a pod that serves, and the daemon with the
                                               reference plugins of this folder, or the machine's
    images.py conformance OUT PROGRAMS SOURCE PACKAGES
                                               what Kubernetes' end-to-end tests run

The end-to-end tests want a shell, dig, curl, nc, ss, conntrack and nginx in their images. Debian's stand for
Alpine's here. PROGRAMS is the folder of what was built, SOURCE that of Kubernetes' module, PACKAGES that of
Debian's packages busybox, netcat-openbsd, iperf, nginx and bind9-dnsutils, unpacked.
"""
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile

REGISTRY = "registry.k8s.io/"
E2E = REGISTRY + "e2e-test-images/"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
PATH = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]

# What a pod says when it is asked: who it is, and who asks.
ANSWER = b"""#!/bin/sh
source=${REMOTE_ADDR##*:}
printf 'Content-Type: application/json\\r\\n\\r\\n{"pod":"%s","source":"%s"}' "$(hostname)" "${source%]}"
"""

# Ends at once when it is told, and takes care of orphans meanwhile.
PAUSE = b"""#!/bin/sh
trap 'exit 0' TERM INT
while :; do sleep 3600 & wait $!; done
"""

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
user-defined-in-image:x:1000:1000::/home/user:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = b"""root:x:0:
user-defined-in-image:x:1000:
group-defined-in-image:x:50000:user-defined-in-image
nobody:x:65534:
nogroup:x:65533:
"""
NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
NGINX = b"""user root root; daemon off; error_log stderr; events {}
http { access_log off; server { listen 80; root /usr/share/nginx/html; } }
"""


def which(program):
    """The path of a program of this machine, or the end."""
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        sys.exit(f"images.py: no {program} on this machine")
    return path


def libraries(*programs):
    """The shared libraries of programs, and what loads them."""
    found = set()
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        words = {word for line in said.splitlines() for word in line.split()}
        found |= {word for word in words if word.startswith("/") and os.path.exists(word)}
    return sorted(found)


class Layer:
    """Files of an image. What is added twice is there once."""

    def __init__(self):
        self.raw, self.seen = io.BytesIO(), set()
        self.tar = tarfile.open(fileobj=self.raw, mode="w")

    def folder(self, path, mode=0o755):
        if path and path not in self.seen:
            self.folder(os.path.dirname(path))
            self.seen.add(path)
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            self.tar.addfile(entry)

    def file(self, source, path, mode=0o755):
        """A file of these bytes, or one of this machine's."""
        if path not in self.seen:
            self.folder(os.path.dirname(path))
            self.seen.add(path)
            if isinstance(source, str):
                with open(os.path.realpath(source), "rb") as file:
                    source = file.read()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(source), mode
            self.tar.addfile(entry, io.BytesIO(source))

    def link(self, target, path):
        if path not in self.seen:
            self.folder(os.path.dirname(path))
            self.seen.add(path)
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            self.tar.addfile(entry)

    def program(self, source, path):
        """A program of this machine with its libraries."""
        for library in libraries(source):
            self.file(library, library.lstrip("/"))
        self.file(source, path)

    def bytes(self):
        self.tar.close()
        return self.raw.getvalue()


class Archive:
    """Images in one file, each layer once."""

    def __init__(self):
        self.images, self.blobs = [], {}

    def image(self, names, layers, **config):
        sums = [hashlib.sha256(layer).hexdigest() for layer in layers]
        file = f"config{len(self.images)}.json"
        self.blobs[file] = json.dumps(
            {
                "architecture": ARCHITECTURE,
                "os": "linux",
                "config": {"Env": PATH, **config},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{it}" for it in sums]},
            }
        ).encode()
        self.blobs.update({f"{it}.tar": layer for it, layer in zip(sums, layers)})
        names = {"Config": file, "RepoTags": names, "Layers": [f"{it}.tar" for it in sums]}
        self.images.append(names)

    def save(self, out):
        """Whole or not at all."""
        self.blobs["manifest.json"] = json.dumps(self.images).encode()
        with tarfile.open(out + ".new", "w") as tar:
            for name, blob in self.blobs.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(blob)
                tar.addfile(entry, io.BytesIO(blob))
        os.rename(out + ".new", out)


def busybox(layer, names):
    layer.program(which("busybox"), "bin/busybox")
    for name in names:
        layer.link("/bin/busybox", "bin/" + name)


def empty(layer):
    """Folders that every root has."""
    for path in "bin etc proc sys dev run var/run var/log root home".split():
        layer.folder(path)
    for path in ("tmp", "var/tmp"):
        layer.folder(path, 0o1777)


def sandbox():
    layer = Layer()
    empty(layer)
    busybox(layer, ["sh", "sleep"])
    layer.file(PAUSE, "pause")
    return layer.bytes()


def serving():
    layer = Layer()
    empty(layer)
    busybox(layer, ["cat", "hostname", "httpd", "ip", "nc", "sh", "sleep", "wget"])
    # What busybox runs for `/` when there is no file.
    layer.file(ANSWER, "www/cgi-bin/index.cgi")
    return layer.bytes()


def stripped(program):
    """A program without what a debugger reads."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(["strip", "-o", file.name, program], check=True)
        return file.read()


def daemon(ipamd, plugin, folders):
    """As the Dockerfile has it."""
    layer = Layer()
    empty(layer)
    for library in libraries(ipamd):
        layer.file(library, library.lstrip("/"))
    layer.file(stripped(ipamd), "app/ipamd")
    layer.link("ipamd", "app/aws-k8s-agent")
    layer.file(stripped(plugin), "app/aws-cni")
    for folder in folders:
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            layer.file(f"{folder}/{name}", f"app/cni-plugins/{name}")
    layer.program(which("nft"), "usr/sbin/nft")
    for kind in ("nft", "legacy"):
        layer.program(which(f"xtables-{kind}-multi"), f"usr/sbin/xtables-{kind}-multi")
        for name in ("iptables", "iptables-save", "iptables-restore"):
            layer.link(f"xtables-{kind}-multi", f"usr/sbin/{name.replace('iptables', 'iptables-' + kind)}")
    layer.link("xtables-nft-multi", "usr/sbin/iptables")
    for folder in {os.path.realpath(f"/usr/lib/{platform.machine()}-linux-gnu/xtables"), "/usr/lib64/xtables"}:
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            layer.file(f"{folder}/{name}", f"{folder.lstrip('/')}/{name}")
    busybox(layer, ["cat", "env", "grep", "ip", "ls", "ps", "sh"])
    layer.file("/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt", 0o644)
    return layer.bytes()


def add_pod(archive):
    archive.image(["localhost/pod:test"], [serving()], Entrypoint=["/bin/httpd", "-f", "-h", "/www"])


def pod(out):
    archive = Archive()
    add_pod(archive)
    archive.save(out)


def cluster(out, ipamd, plugin, *folders):
    archive = Archive()
    archive.image([f"{REGISTRY}pause:3.10.1", f"{REGISTRY}pause:3.10"], [sandbox()], Entrypoint=["/pause"])
    add_pod(archive)
    image = daemon(ipamd, plugin, folders or ("/usr/lib/cni", "/usr/libexec/cni"))
    archive.image(["docker.io/library/eni-cni:latest"], [image], Entrypoint=["/app/aws-k8s-agent"])
    archive.save(out)


def end_to_end(layer, packages):
    """What a root of the end-to-end tests has: users, names of services, and how names are looked up."""
    empty(layer)
    layer.folder("usr/sbin")
    layer.file(PASSWD, "etc/passwd", 0o644)
    layer.file(GROUP, "etc/group", 0o644)
    layer.file(NSSWITCH, "etc/nsswitch.conf", 0o644)
    for path in ("/etc/services", "/etc/protocols"):
        if os.path.exists(path):
            layer.file(path, path[1:], 0o644)
    layer.program(which("getent"), "usr/bin/getent")
    folder = f"/lib/{platform.machine()}-linux-gnu"
    for name in ("libnss_dns.so.2", "libnss_files.so.2", "libnss_compat.so.2", "libresolv.so.2"):
        if os.path.exists(f"{folder}/{name}"):
            layer.file(f"{folder}/{name}", f"{folder}/{name}"[1:])
    # The dynamic one: names are looked up as the C library does it.
    layer.program(f"{packages}/bin/busybox", "bin/busybox")


def applets(packages, *without):
    said = subprocess.run([f"{packages}/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    return [name for name in said.stdout.split() if name not in ("busybox", *without)]


def plain(packages):
    layer = Layer()
    end_to_end(layer, packages)
    for name in applets(packages):
        layer.link("/bin/busybox", "bin/" + name)
    return layer.bytes()


def tools(packages):
    layer = Layer()
    end_to_end(layer, packages)
    layer.program(which("bash"), "usr/bin/bash")
    layer.link("/usr/bin/bash", "bin/bash")
    for path in ("usr/bin/dig", "usr/bin/nslookup", "bin/nc.openbsd", "usr/bin/iperf", "usr/sbin/nginx"):
        layer.program(f"{packages}/{path}", "usr/bin/" + os.path.basename(path))
    # wget: that of Debian's busybox ends with a segmentation fault where it is given a time limit.
    for name in ("curl", "wget", "ss", "ip", "conntrack", "nft"):
        layer.program(which(name), "usr/bin/" + name)
    layer.program(which("xtables-nft-multi"), "usr/bin/xtables-nft-multi")
    for name in ("iptables", "iptables-save"):
        layer.link("xtables-nft-multi", "usr/bin/" + name)
    layer.link("nc.openbsd", "usr/bin/nc")
    for name in applets(packages, "nc", "ip", "nslookup", "wget"):
        layer.link("/bin/busybox", "bin/" + name)
    layer.file("/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt", 0o644)
    for path in ("var/lib/nginx", "var/log/nginx", "usr/share/nginx/html"):
        layer.folder(path)
    layer.file(NGINX, "etc/nginx/nginx.conf", 0o644)
    layer.file(b"<html><title>Welcome to nginx!</title></html>\n", "usr/share/nginx/html/index.html", 0o644)
    return layer.bytes()


def conformance(out, programs, source, packages):
    """Names and versions are those of `test/utils/image/manifest.go` in SOURCE."""
    archive = Archive()
    with_tools, agnhost = tools(packages), Layer()
    agnhost.folder("uploads")
    agnhost.folder("home/user")
    for name in ("localhost.crt", "localhost.key"):
        agnhost.file(f"{source}/test/images/agnhost/porter/{name}", name, 0o644)
    agnhost.file(f"{programs}/agnhost", "agnhost")
    agnhost.link("agnhost", "agnhost-2")
    agnhost.file(f"{programs}/coredns", "coredns")
    names = [f"{E2E}agnhost:2.59", f"{E2E}agnhost:2.55"]
    archive.image(names, [with_tools, agnhost.bytes()], Entrypoint=["/agnhost"], Cmd=["pause"])
    names = [f"{E2E}jessie-dnsutils:1.7", f"{REGISTRY}build-image/distroless-iptables:v0.8.9"]
    archive.image(names, [with_tools], Cmd=["sh"])
    names = [f"{E2E}nginx:1.14-4", f"{E2E}nginx:1.15-4"]
    archive.image(names, [with_tools], Entrypoint=["/usr/bin/nginx"])
    archive.image([f"{E2E}busybox:1.37.0-1"], [plain(packages)], Cmd=["sh"])
    boom = Layer()
    boom.file(f"{programs}/regression-issue-74839", "server")
    archive.image([f"{E2E}regression-issue-74839:1.4"], [boom.bytes()], Entrypoint=["/server"])
    dns = Layer()
    dns.folder("etc/coredns")
    dns.file(f"{programs}/coredns", "coredns")
    archive.image(["localhost/coredns:test"], [dns.bytes()], Entrypoint=["/coredns"])
    archive.save(out)


def main():
    if sys.argv[1:2] == ["pod"] and len(sys.argv) == 3:
        pod(*sys.argv[2:])
    elif sys.argv[1:2] == ["cluster"] and len(sys.argv) in (5, 6):
        cluster(*sys.argv[2:])
    elif sys.argv[1:2] == ["conformance"] and len(sys.argv) == 6:
        conformance(*sys.argv[2:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
