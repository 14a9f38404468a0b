//! Unreadable, half-written and hostile configuration: refused with reasons, the running one untouched.
//!
//! ```text
//!   tap0, tap1 ── switch ── weft.toml, again and again
//! ```

use std::{fs, process::Command};

use weft_netns::{
    Daemon, Lab, Nic, Process, Wire,
    frame::{BROADCAST, Frame, mac},
};

const CONFIG: &str = "\
[port.one]
type = \"netdev\"
device = \"tap0\"
vlan = { access = 10 }

[port.two]
type = \"netdev\"
device = \"tap1\"
vlan = { access = 10 }
";

fn hostile() -> Vec<Vec<u8>> {
    let half = &CONFIG[..CONFIG.len() / 2 + 11];
    vec![
        half.as_bytes().to_vec(),
        b"\0\0\0\0\0\0\0\0".to_vec(),
        vec![0xff; 1000],
        b"[[[[[[[[".repeat(10_000),
        format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes(),
        format!("{}.y = 1", "a.".repeat(50_000)).into_bytes(),
        CONFIG.replace("10 }", "-1 }").into_bytes(),
        CONFIG.replace("10 }", "99999999999999999999 }").into_bytes(),
        CONFIG.replace("tap0", &"x".repeat(10_000)).into_bytes(),
        CONFIG.replace("tap0", "../../etc/passwd").into_bytes(),
        CONFIG.replace("tap1", "tap0").into_bytes(),
        (CONFIG.to_owned() + CONFIG).into_bytes(),
        CONFIG.replace("port.one", "port.\"\"").into_bytes(),
        CONFIG.replace("port.one", "port.\"a\\u0000b\"").into_bytes(),
        format!("[daemon]\nworkers = 0\n{CONFIG}").into_bytes(),
        format!("[daemon]\nworkers = 100000000\n{CONFIG}").into_bytes(),
        format!("[switch.main]\nmac-limit = 99999999999999\n{CONFIG}").into_bytes(),
        format!("[switch.main]\nmac-ageing = \"-5s\"\n{CONFIG}").into_bytes(),
        format!("{CONFIG}[vlan.10]\nid = 20\n").into_bytes(),
        (0..5000)
            .map(|n| format!("[port.p{n}]\ntype=\"tap\"\ndevice=\"p{n}\"\nvlan={{access=1}}\n"))
            .collect::<String>()
            .into_bytes(),
    ]
}

fn scene() -> (Lab, Daemon, Nic, Nic) {
    let lab = Lab::new();
    let (one, two) = (Nic::open(lab.switch(), "tap0"), Nic::open(lab.switch(), "tap1"));
    let daemon = lab.daemon(CONFIG);
    (lab, daemon, one, two)
}

#[test]
fn a_bad_file_on_reload_changes_nothing() {
    let (_lab, mut daemon, mut one, mut two) = scene();
    let ctl = daemon.ctl();
    let good = daemon.config();
    let running = ctl.json("config show")["running"].clone();
    for (number, text) in hostile().iter().enumerate() {
        fs::write(daemon.config_path(), text).unwrap();
        let log = daemon.log_len();
        daemon.reload();
        daemon.wait_for_log(log, "weft.toml");
        assert_eq!(ctl.json("config show")["running"], running, "file {number}");
        let frame = Frame::new(mac(1), BROADCAST).text(&format!("file {number}")).bytes();
        one.send(&frame);
        two.expect_frame(&frame);
    }
    fs::remove_file(daemon.config_path()).unwrap();
    let log = daemon.log_len();
    daemon.reload();
    daemon.wait_for_log(log, "weft.toml");
    assert_eq!(ctl.json("config show")["running"], running);
    assert!(daemon.is_running());
    // A good file is taken again.
    daemon.write_config(&good.replacen("access = 10", "access = 20", 1));
    daemon.reload();
    weft_netns::until("the good file is in force", || ctl.port("one")["vlan"]["access"] == 20);
}

#[test]
fn a_bad_file_by_apply_changes_nothing() {
    let (lab, daemon, _one, _two) = scene();
    let ctl = daemon.ctl();
    let before = (daemon.config(), ctl.json("config show")["running"].clone());
    for (number, text) in hostile().iter().enumerate() {
        let file = lab.path("hostile.toml");
        fs::write(&file, text).unwrap();
        for command in ["check", "apply"] {
            let output = ctl.line(&format!("{command} {}", file.display()));
            assert_eq!(output.code, Some(1), "{command} of file {number}: {output:?}");
            assert!(
                output.stderr.len() > 10 && output.stderr.len() < 20_000,
                "{} bytes of errors",
                output.stderr.len()
            );
        }
    }
    assert_eq!((daemon.config(), ctl.json("config show")["running"].clone()), before);
}

#[test]
fn a_daemon_does_not_start_on_a_bad_file() {
    let lab = Lab::new();
    let binary = lab.daemon("").binary();
    for (number, text) in hostile().iter().enumerate() {
        let file = lab.path("hostile.toml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(&binary);
        command
            .arg("--config")
            .arg(&file)
            .arg("--socket")
            .arg(lab.path("hostile.sock"))
            .arg("--state-dir")
            .arg(lab.path("state"));
        let mut process = Process::start("weftd", lab.switch(), command);
        let status = process.wait();
        assert!(!status.success() && status.code().is_some(), "file {number}: {status}");
        weft_netns::until("it says why", || process.said().contains("hostile.toml"));
        assert!(
            !process.said().contains("weftd: ready") && !process.said().contains("panicked"),
            "{}",
            process.said()
        );
    }
}

/// Without a file there is an empty switch.
#[test]
fn a_daemon_without_a_file_has_an_empty_switch() {
    let lab = Lab::new();
    let mut daemon = lab.daemon("");
    daemon.terminate();
    fs::remove_file(daemon.config_path()).unwrap();
    daemon.restart();
    let ctl = daemon.ctl();
    assert_eq!(ctl.json("switch list")[0]["name"], "main");
    assert_eq!(ctl.json("port list"), serde_json::json!([]));
    ctl.run("port add host --type tap --device weft0 --access 10");
    ctl.wait_for_state("host", "up");
}
