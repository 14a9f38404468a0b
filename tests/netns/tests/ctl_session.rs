//! Whoever administers a switch through the switch is warned before he cuts himself off.
//!
//! ```text
//!   administrator, 10.0.0.9 ── nic (netdev) ─ access 10 ┐
//!                      weft0, 10.0.0.1 (the host) ─ host ┴ switch
//! ```
//!
//! This process holds the host's end of the administrator's connection, as sshd would, and is above the commands.

use std::net::{TcpListener, TcpStream};

use weft_netns::{Daemon, Host, Lab, on_terminal, typed_to};

const CONFIG: &str = "\
[port.nic]
type = \"netdev\"
device = \"v1\"
vlan = { access = 10 }

[port.host]
type = \"tap\"
device = \"weft0\"
vlan = { access = 10 }

[port.guest]
type = \"netdev\"
device = \"v2\"
vlan = { access = 10 }
";

struct Scene {
    lab: Lab,
    daemon: Daemon,
    #[expect(dead_code, reason = "they hold the session")]
    session: (Host, Host, [TcpStream; 2]),
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let admin = Host::on_veth(&lab, "v1", "10.0.0.9/24");
        let guest = Host::on_veth(&lab, "v2", "10.0.0.5/24");
        let daemon = lab.daemon(CONFIG);
        lab.switch().run("ip addr add 10.0.0.1/24 dev weft0");
        admin.wait_for_ping("10.0.0.1");
        let listener =
            lab.switch().enter(|| TcpListener::bind("10.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let far = admin.space().enter(|| TcpStream::connect(address)).expect("the host is reached");
        let (near, _) = listener.accept().expect("the administrator is there");
        Self { lab, daemon, session: (admin, guest, [near, far]) }
    }

    /// Runs a command on the host; returns its exit code and what it said.
    fn run(&self, line: &str) -> (Option<i32>, String) {
        let mut command = self.daemon.ctl().command(&line.split_whitespace().collect::<Vec<_>>());
        let output = self.lab.switch().enter(|| command.output()).expect("weftctl can be started");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn type_to(&self, line: &str, typed: &str) -> (Option<i32>, String) {
        let command = self.daemon.ctl().command(&line.split_whitespace().collect::<Vec<_>>());
        let shown = self.lab.switch().enter(|| typed_to(command, typed));
        (shown.status.code(), shown.text)
    }

    fn vlan(&self, port: &str) -> u64 {
        self.daemon.ctl().port(port)["vlan"]["access"].as_u64().expect("an access port")
    }
}

#[test]
fn what_does_not_cut_the_session_is_made_without_a_word() {
    let scene = Scene::new();
    for line in [
        "port set guest --access 20",
        "port set nic --mac-limit 50",
        "port remove guest",
        "vlan add office --id 10",
        "status",
    ] {
        let (code, said) = scene.run(line);
        assert!(code == Some(0) && !said.contains("warning"), "{line}: {said}");
    }
}

#[test]
fn a_script_is_warned_and_goes_on() {
    let scene = Scene::new();
    let (code, said) = scene.run("port set nic --access 20");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: this would cut your own session from 10.0.0.9"), "{said}");
    assert!(said.contains("host and nic") && said.contains("port.nic.vlan"), "{said}");
    assert_eq!(scene.vlan("nic"), 20);
}

#[test]
fn whoever_sits_at_a_terminal_is_asked() {
    let scene = Scene::new();
    for (line, path) in [
        ("port set host --access 20", "port.host.vlan"),
        ("port set nic --disabled", "port.nic.enabled"),
        ("port set nic --mac 02:00:00:00:00:01", "port.nic.macs"),
        ("port remove nic", "port.nic"),
    ] {
        let (code, said) = scene.type_to(line, "n\n");
        assert!(
            code == Some(1) && said.contains("Go on? [y/N]") && said.contains(path),
            "{line}: {said}"
        );
    }
    assert_eq!((scene.vlan("host"), scene.vlan("nic")), (10, 10));
    let (code, said) = scene.type_to("port set host --access 20", "y\n");
    assert_eq!((code, scene.vlan("host")), (Some(0), 20), "{said}");
}

#[test]
fn a_file_is_judged_as_a_whole() {
    let scene = Scene::new();
    let other = scene
        .lab
        .write("other.toml", &scene.daemon.config().replacen("access = 10", "access = 20", 2));
    let other = other.display();
    let (code, said) = scene.type_to(&format!("apply {other}"), "\n");
    assert!(code == Some(1) && said.contains("Go on?"), "{said}");
    // With a net below nobody has to be asked.
    let (code, said) = scene.type_to(&format!("apply {other} --confirm 1m"), "");
    assert!(code == Some(0) && !said.contains("Go on?"), "{said}");
    scene.run("rollback");
    assert_eq!(scene.vlan("nic"), 10);
}

#[test]
fn whoever_comes_by_no_port_of_the_switch_is_not_asked() {
    let scene = Scene::new();
    // The test's own namespace knows nothing of the session.
    let command = scene.daemon.ctl().command(&["port", "set", "nic", "--access", "20"]);
    let shown = on_terminal(command);
    assert!(shown.status.success() && !shown.text.contains("Go on?"), "{}", shown.text);
}
