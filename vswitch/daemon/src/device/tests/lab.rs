//! A network namespace for one test, and eyes and hands in it.

use std::{
    any::type_name_of_val,
    fs,
    future::Future,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};
use serde_json::Value;
use weft_vlan::MacAddr;

use crate::device::Devices;

/// Set in the process that `unshare` starts: the file in which it says that it ran.
const INSIDE: &str = "WEFT_DEVICE_TEST";
/// Far longer than anything here takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test can do in its namespace.
pub(super) struct Lab {
    state: tempfile::TempDir,
}

/// Runs the body of a test in a new network namespace: the test starts itself again under unshare(1), in a
/// user namespace too where it is not root.
pub(super) fn in_namespace<F: Future<Output = ()>>(test: impl Fn(), body: impl FnOnce(Lab) -> F) {
    if let Ok(marker) = std::env::var(INSIDE) {
        fs::write(marker, "ran").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        let lab = Lab { state: tempfile::tempdir().unwrap() };
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE * 3, body(lab)).await.expect("the test hangs");
        });
        return;
    }
    let marker = tempfile::NamedTempFile::new().unwrap();
    let (_, name) = type_name_of_val(&test).split_once("::").unwrap();
    let namespaces: &[&str] = if rustix::process::geteuid().is_root() {
        &["--net"]
    } else {
        &["--user", "--map-root-user", "--net"]
    };
    let status = Command::new("unshare")
        .args(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, marker.path())
        .status()
        .expect("unshare(1) of util-linux is installed");
    assert!(status.success(), "{name} failed in its namespace: {status}");
    assert_eq!(
        fs::read_to_string(marker.path()).unwrap(),
        "ran",
        "{name} did not run in its namespace"
    );
}

impl Lab {
    /// The daemon's state directory.
    pub(super) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Starts device care as a daemon does.
    pub(super) async fn devices(&self) -> Devices {
        Devices::new(self.state()).await.unwrap()
    }

    /// The names of the records in the state directory.
    pub(super) fn records(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state().join("devices")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes a veth pair; the far end `g…` is a guest's: up, and silent by itself.
    pub(super) fn pair(&self, near: &str, far: &str) {
        ip(&format!("link add {near} type veth peer name {far}"));
        ip(&format!("link set {far} addrgenmode none up"));
    }
}

/// Runs `ip` with arguments split at blanks.
pub(super) fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

/// Runs `tc` with arguments split at blanks.
pub(super) fn tc(arguments: &str) {
    run("tc", &arguments.split(' ').collect::<Vec<_>>());
}

/// Adds a filter as an operator would: classic BPF that gives every frame the verdict, 0 pass or 2 drop.
pub(super) fn add_filter(device: &str, hook: &str, priority: &str, verdict: u8) {
    let bytecode = format!("1,6 0 0 {verdict}");
    let place = ["filter", "add", "dev", device, hook, "prio", priority];
    run("tc", &[&place[..], &["bpf", "da", "bytecode", &bytecode]].concat());
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// What iproute2 knows of a device: everything about it that a claim could change.
pub(super) fn snapshot(device: &str) -> Value {
    let mut link = json("ip", &["-j", "-d", "link", "show", "dev", device])[0].take();
    // The test's own sockets count here, and the kernel picks the queue on the way out when first set up.
    for volatile in ["promiscuity", "allmulti", "qdisc"] {
        link.as_object_mut().unwrap().remove(volatile);
    }
    serde_json::json!({
        "link": link,
        "addresses": addresses(device),
        "qdiscs": qdiscs(device),
        "ingress": filters(device, "ingress"),
        "egress": filters(device, "egress"),
    })
}

/// The filters of a device at a hook, as `tc` shows them.
pub(super) fn filters(device: &str, hook: &str) -> Value {
    json("tc", &["-j", "filter", "show", "dev", device, hook])
}

/// How many clsact qdiscs a device has.
pub(super) fn clsact_count(device: &str) -> usize {
    qdiscs(device).iter().filter(|qdisc| qdisc["kind"] == "clsact").count()
}

/// The qdiscs of a device that stand beside the queue on its way out.
fn qdiscs(device: &str) -> Vec<Value> {
    let shown = json("tc", &["-j", "qdisc", "show", "dev", device]);
    shown.as_array().unwrap().iter().filter(|qdisc| qdisc["root"] != true).cloned().collect()
}

/// The addresses of a device with their prefix lengths.
pub(super) fn addresses(device: &str) -> Vec<String> {
    let shown = json("ip", &["-j", "address", "show", "dev", device]);
    let mut found: Vec<String> = shown[0]["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
        .collect();
    found.sort();
    found
}

/// What `ip` says about a device.
pub(super) fn link(device: &str) -> Value {
    json("ip", &["-j", "-d", "link", "show", "dev", device])[0].take()
}

/// Tells whether a device is administratively up.
pub(super) fn is_up(device: &str) -> bool {
    link(device)["flags"].as_array().unwrap().iter().any(|flag| flag == "UP")
}

/// The MAC address of a device.
pub(super) fn mac(device: &str) -> MacAddr {
    link(device)["address"].as_str().unwrap().parse().unwrap()
}

fn json(program: &str, arguments: &[&str]) -> Value {
    let text = run(program, arguments);
    // iproute2 prints nothing at all where there is nothing to show.
    if text.trim().is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_str(&text).unwrap()
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited in vain: {what}");
}

/// A packet socket on a device: injects frames, and keeps those that it sees.
pub(super) struct Tap {
    sender: Box<dyn DataLinkSender>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens on a device from here on.
    pub(super) fn on(device: &str) -> Self {
        let interface =
            datalink::interfaces().into_iter().find(|interface| interface.name == device).unwrap();
        let config = datalink::Config {
            read_timeout: Some(Duration::from_millis(20)),
            ..Default::default()
        };
        let Ok(Channel::Ethernet(sender, receiver)) = datalink::channel(&interface, config) else {
            panic!("no packet socket on {device}");
        };
        let seen = Arc::default();
        let stop = Arc::default();
        let (frames, end) = (Arc::clone(&seen), Arc::clone(&stop));
        let reader = thread::Builder::new().spawn(move || read(receiver, &frames, &end)).unwrap();
        Self { sender, seen, stop, reader: Some(reader) }
    }

    /// Sends a frame out of the device.
    pub(super) fn send(&mut self, frame: &[u8]) {
        self.sender.send_to(frame, None).unwrap().unwrap();
    }

    /// The frames seen so far from one source address.
    pub(super) fn from(&self, source: MacAddr) -> Vec<Vec<u8>> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|frame| frame[6..12] == source.octets()).cloned().collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read(mut receiver: Box<dyn DataLinkReceiver>, frames: &Mutex<Vec<Vec<u8>>>, end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        // A timeout, or the device went down for a moment: both pass.
        if let Ok(frame) = receiver.next() {
            frames.lock().unwrap().push(frame.to_vec());
        }
    }
}
