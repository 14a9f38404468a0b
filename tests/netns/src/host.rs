//! A host with the kernel's own stack: a namespace with one network card that leads to the switch.

use crate::{Daemon, Lab, Namespace, Nic, Process, until};

/// A namespace with one card, `eth0`.
#[derive(Debug)]
pub struct Host {
    space: Namespace,
}

impl Host {
    /// Makes a host at one end of a veth whose other end, up, becomes `device` in the switch's namespace.
    pub fn on_veth(lab: &Lab, device: &str, address: &str) -> Self {
        Self::on_veth_of(lab, device, address, "")
    }

    /// Makes a host as [`Host::on_veth`] does, each end of whose veth has so many queues either way.
    pub fn on_veth_with_queues(lab: &Lab, device: &str, address: &str, queues: usize) -> Self {
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        Self::on_veth_of(lab, device, address, &queues)
    }

    fn on_veth_of(lab: &Lab, device: &str, address: &str, properties: &str) -> Self {
        let host = Self { space: Namespace::new() };
        lab.switch().run(&format!(
            "ip link add {device} {properties} type veth peer name eth0 {properties} netns {}",
            host.space.path()
        ));
        lab.switch().run(&format!("ip link set {device} up"));
        host.set_up(address);
        host
    }

    /// Makes a host whose card is the kernel side of a `tap` port that is up.
    #[track_caller]
    pub fn on_tap(lab: &Lab, daemon: &Daemon, device: &str, address: &str) -> Self {
        let host = Self { space: Namespace::new() };
        until(&format!("the daemon makes {device}"), || lab.switch().has_device(device));
        lab.switch().run(&format!("ip link set {device} netns {} name eth0", host.space.path()));
        host.set_up(address);
        // The port has to survive the move of its device.
        assert!(daemon.ctl().json("port list").is_array());
        host
    }

    fn set_up(&self, address: &str) {
        self.space.run(&format!("ip addr add {address} dev eth0 nodad"));
        self.space.run("ip link set eth0 up");
    }

    /// Puts the card into a bridge of the kernel with a card of the test's own, which so sends and receives on the
    /// host's behalf, tags as they are.
    pub fn bridged_nic(&self) -> Nic {
        let nic = Nic::open_up(&self.space, "inner");
        for line in [
            "add bridge type bridge",
            "set bridge up",
            "set inner master bridge",
            "set eth0 master bridge",
        ] {
            self.space.run(&format!("ip link {line}"));
        }
        nic
    }

    /// Adds an IPv6 address.
    pub fn add_ipv6(&self, address: &str) {
        self.space.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0");
        self.space.run(&format!("ip addr add {address} dev eth0 nodad"));
    }

    /// Sends a stream each way, over IPv4 and IPv6, between this host and the one at 10.0.0.`last` and fd00::`last`; neither
    /// stack counts a bad checksum.
    #[track_caller]
    pub fn streams_with(&self, other: &Self, last: u8) {
        for target in [format!("10.0.0.{last}"), format!("fd00::{last}")] {
            self.wait_for_ping(&target);
            for direction in ["", "-R"] {
                self.iperf(other, &format!("-c {target} -t 1 {direction}"));
            }
        }
        self.assert_no_bad_checksums();
        other.assert_no_bad_checksums();
    }

    /// Returns the namespace.
    pub fn space(&self) -> &Namespace {
        &self.space
    }

    /// Runs a command line inside that must succeed, and returns its output.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.space.run(line)
    }

    /// Tells whether a single ping is answered within a second.
    pub fn pings(&self, address: &str) -> bool {
        self.space.exec(&format!("ping -c 1 -W 1 -q {address}")).status.success()
    }

    /// Waits until a ping is answered.
    #[track_caller]
    pub fn wait_for_ping(&self, address: &str) {
        until(&format!("{address} answers"), || self.pings(address));
    }

    /// Starts an iperf3 server that serves one test, and waits until it listens.
    pub fn iperf_server(&self) -> Process {
        let server = Process::start_line(&self.space, "iperf3 -s -1 --forceflush");
        server.wait_for("Server listening");
        server
    }

    /// Runs an iperf3 client against a server of its own in another host, and returns its report.
    #[track_caller]
    pub fn iperf(&self, server: &Self, arguments: &str) -> String {
        let server = server.iperf_server();
        let report = self.run(&format!("iperf3 {arguments}"));
        drop(server);
        report
    }

    /// Returns a counter of the host's stack, say `TcpInCsumErrors` or `Udp6InCsumErrors`.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        self.space.counter(name)
    }

    /// Asserts that the host's stack has seen no bad checksum.
    #[track_caller]
    pub fn assert_no_bad_checksums(&self) {
        for name in
            ["TcpInCsumErrors", "TcpInErrs", "UdpInCsumErrors", "Udp6InCsumErrors", "IpInHdrErrors"]
        {
            assert_eq!(self.counter(name), 0, "{name}");
        }
    }

    /// Returns the MAC address of the card.
    pub fn mac(&self) -> String {
        let line = self.run("ip -o link show dev eth0");
        line.split_whitespace()
            .skip_while(|word| *word != "link/ether")
            .nth(1)
            .expect("an Ethernet card")
            .to_owned()
    }
}
