//! The peer's checkpoint, `ipam.json`: what amazon-vpc-cni-k8s keeps of its pods, read and written.
//!
//! The peer writes the whole file at every change. At its start it takes it for the truth, and does
//! not start at all if it cannot read it, if it is of another version, or if it has an address twice.
//!
//! ```json
//! {"version":"vpc-cni-ipam/1","allocations":[{"networkName":"aws-cni","containerID":"…",
//! "ifName":"eth0","ipv4":"10.0.0.5","allocationTimestamp":1795893719612021670,
//! "metadata":{"k8sPodNamespace":"default","k8sPodName":"web-1","interfacesCount":1}}]}
//! ```

use pool::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    error::Error,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The only version that the peer accepts.
pub const VERSION: &str = "vpc-cni-ipam/1";

/// The longest file that is read: that of a node with a thousand pods has 300 KiB.
const LONGEST: u64 = 16 << 20;

/// The mode of the peer's file.
const MODE: u32 = 0o600;

/// What the name of the file ends with while it is being written.
const DRAFT: &str = ".eni-cni-new";

/// What a checkpoint holds.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// The entries that could be read, in their order.
    pub allocations: Vec<Allocation>,
    /// Those that could not.
    pub unreadable: Vec<Unreadable>,
}

/// What the peer notes of one attachment of a pod.
///
/// Of pods that old versions took over from the runtime it has the container alone: their network is
/// `_migrated-from-cri`, their interface `unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Name of the network, from the configuration.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// The pod's IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The pod's IPv6 address, in clusters of IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// When it got the address; the epoch where that is not noted.
    pub since: Time,
    /// Namespace of the pod; empty where that is not known.
    pub pod_namespace: String,
    /// Name of the pod; empty where that is not known.
    pub pod_name: String,
    /// How many interfaces the pod got by the same ADD, on as many network cards; 0 means 1.
    pub interfaces: u32,
}

/// An entry that could not be read: somebody may use its address all the same.
#[derive(Debug)]
pub struct Unreadable {
    /// Its place in the list, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub why: String,
    /// Its address, where that much can be read.
    pub address: Option<IpAddr>,
}

/// Why a checkpoint could not be read at all.
#[derive(Debug)]
pub enum ReadError {
    /// The file is there, but the kernel does not give it.
    Io(PathBuf, io::Error),
    /// It is no checkpoint.
    Damaged(PathBuf, serde_json::Error),
    /// It is of a version that we do not know.
    OtherVersion(PathBuf, String),
}

#[derive(Deserialize)]
struct Listed {
    version: String,
    // In the peer's language an empty list may be written as none.
    allocations: Option<Vec<Value>>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: &'static str,
    allocations: &'a [Entry],
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "networkName")]
    network: String,
    #[serde(rename = "containerID")]
    container: String,
    #[serde(rename = "ifName")]
    interface: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<Ipv6Addr>,
    #[serde(rename = "allocationTimestamp", default)]
    since_ns: i64,
    metadata: Option<Metadata>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "k8sPodNamespace", skip_serializing_if = "String::is_empty")]
    pod_namespace: String,
    #[serde(rename = "k8sPodName", skip_serializing_if = "String::is_empty")]
    pod_name: String,
    #[serde(rename = "interfacesCount", skip_serializing_if = "is_zero")]
    interfaces: u32,
}

/// Reads a checkpoint, entry by entry; `None` where there is none. Changes nothing.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path) -> Result<Option<Checkpoint>, ReadError> {
    let bytes = match read_bounded(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| ReadError::Io(path.into(), error))?,
    };
    let damaged = |error| ReadError::Damaged(path.into(), error);
    let Listed { version, allocations } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if version != VERSION {
        return Err(ReadError::OtherVersion(path.into(), version));
    }
    let mut checkpoint = Checkpoint::default();
    for (index, entry) in allocations.unwrap_or_default().into_iter().enumerate() {
        match Allocation::read(&entry) {
            Ok(allocation) => checkpoint.allocations.push(allocation),
            Err(why) => {
                let unreadable = Unreadable { index, why, address: address(&entry) };
                checkpoint.unreadable.push(unreadable);
            }
        }
    }
    Ok(Some(checkpoint))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(bytes)
}

/// Writes a checkpoint that the peer reads, beside the old one, and puts it in its place at once.
/// Those with an address that an earlier one has are left out and returned: the peer would not start.
///
/// # Errors
/// What the kernel says; the old file is still there then.
pub fn write<'a>(path: &Path, allocations: &'a [Allocation]) -> io::Result<Vec<&'a Allocation>> {
    let mut taken = BTreeSet::new();
    let (written, left_out): (Vec<_>, Vec<_>) = allocations.iter().partition(|allocation| {
        let addresses: Vec<_> = allocation.addresses().collect();
        !addresses.is_empty() && addresses.into_iter().all(|address| taken.insert(address))
    });
    let entries: Vec<_> = written.into_iter().map(Entry::from).collect();
    let mut text = serde_json::to_vec(&Written { version: VERSION, allocations: &entries })?;
    text.push(b'\n');

    let mut draft = path.as_os_str().to_owned();
    draft.push(DRAFT);
    let kept = write_through(Path::new(&draft), &text).and_then(|()| fs::rename(&draft, path));
    if kept.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&draft);
    }
    kept.map(|()| left_out)
}

/// Where the peer keeps the checkpoint of a further network card, beside that of the first one.
#[must_use]
pub fn of_card(path: &Path, card: u32) -> PathBuf {
    if card == 0 {
        return path.into();
    }
    let path = path.to_string_lossy();
    let stem = path.strip_suffix(".json").unwrap_or(&path);
    format!("{stem}-nic-{card}.json").into()
}

impl Allocation {
    /// Whether the peer can tell by the name of the pod's link whether the pod lives. Of other entries it
    /// takes for granted that they do.
    #[must_use]
    pub fn names_its_pod(&self) -> bool {
        !self.pod_namespace.is_empty() && !self.pod_name.is_empty()
    }

    /// Its addresses: one, but for what a later peer may come to write.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.into_iter().map(IpAddr::V4);
        ipv4.chain(self.ipv6.into_iter().map(IpAddr::V6))
    }

    fn read(entry: &Value) -> Result<Self, String> {
        let entry = Entry::deserialize(entry).map_err(|error| error.to_string())?;
        let Entry { network, container, interface, ipv4, ipv6, since_ns, metadata } = entry;
        if ipv4.is_none() && ipv6.is_none() {
            return Err("no address".into());
        }
        let Metadata { pod_namespace, pod_name, interfaces } = metadata.unwrap_or_default();
        let since = Time(Duration::from_nanos(u64::try_from(since_ns).unwrap_or(0)));
        Ok(Self {
            network,
            container,
            interface,
            ipv4,
            ipv6,
            since,
            pod_namespace,
            pod_name,
            interfaces,
        })
    }
}

impl From<&Allocation> for Entry {
    fn from(allocation: &Allocation) -> Self {
        let Allocation { network, container, interface, pod_namespace, pod_name, .. } =
            allocation.clone();
        Self {
            network,
            container,
            interface,
            ipv4: allocation.ipv4,
            ipv6: allocation.ipv6,
            since_ns: i64::try_from(allocation.since.0.as_nanos()).unwrap_or(i64::MAX),
            metadata: Some(Metadata { pod_namespace, pod_name, interfaces: allocation.interfaces }),
        }
    }
}

/// The address of an entry of which nothing else may be readable.
fn address(entry: &Value) -> Option<IpAddr> {
    ["ipv4", "ipv6"].iter().find_map(|name| entry.get(name)?.as_str()?.parse().ok())
}

fn write_through(draft: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(draft)?;
    file.write_all(text)?;
    file.sync_all()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {}", self.index, self.why)?;
        self.address.map_or(Ok(()), |address| write!(f, " (its address is {address})"))
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, _) => write!(f, "read {}", path.display()),
            Self::Damaged(path, _) => write!(f, "understand {}", path.display()),
            Self::OtherVersion(path, version) => {
                write!(
                    f,
                    "understand {}: its version is {version:?}, not {VERSION:?}",
                    path.display()
                )
            }
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::Damaged(_, error) => Some(error),
            Self::OtherVersion(..) => None,
        }
    }
}
