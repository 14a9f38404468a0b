//! `check`, `diff`, `apply` and `config show`: a whole configuration at once, or not at all.
//!
//! ```text
//!   tap0, tap1 ── switch ── weftd.sock ── weftctl
//! ```

use weft_netns::{Daemon, Lab, Nic};

const CONFIG: &str = "\
[port.db]
type = \"netdev\"
device = \"tap1\"
vlan = { access = 10 } # the database
";

fn scene() -> (Lab, Daemon, [Nic; 2]) {
    let lab = Lab::new();
    let nics = ["tap0", "tap1"].map(|device| Nic::open(lab.switch(), device));
    let daemon = lab.daemon(CONFIG);
    (lab, daemon, nics)
}

fn candidate(daemon: &Daemon) -> String {
    daemon.config().replace("access = 10", "access = 20")
        + "\n# new\n[port.web]\ntype = \"netdev\"\ndevice = \"tap0\"\nvlan = { access = 10 }\n"
}

#[test]
fn a_candidate_is_compared_and_applied() {
    let (lab, daemon, _nics) = scene();
    let ctl = daemon.ctl();
    let text = candidate(&daemon);
    let file = lab.write("candidate.toml", &text);
    let before = daemon.config();
    let file = file.display();
    for line in [format!("diff {file}"), format!("apply {file} --dry-run")] {
        let shown = ctl.run(&line);
        assert!(
            shown.contains("web") && shown.contains("db") && shown.contains("20"),
            "weftctl {line}: {shown}"
        );
        let changes = ctl.json(&line);
        let kinds: Vec<_> = changes["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| (change["kind"].as_str().unwrap(), change["path"].as_str().unwrap()))
            .collect();
        assert!(kinds.contains(&("added", "port.web")), "{changes}");
        assert!(
            kinds.iter().any(|(kind, path)| *kind == "changed" && path.starts_with("port.db")),
            "{changes}"
        );
        assert!(changes["written"].is_null(), "{changes}");
    }
    assert_eq!(daemon.config(), before);
    assert_eq!(ctl.port("db")["vlan"]["access"], 10);

    let applied = ctl.json(&format!("apply {file}"));
    assert!(applied["written"].is_string() && applied["revision"].is_string(), "{applied}");
    assert_eq!(daemon.config(), text, "FILE's text is the configuration file's");
    assert_eq!(ctl.port("db")["vlan"]["access"], 20);
    ctl.wait_for_state("web", "up");
    assert_eq!(ctl.json("diff")["changes"], serde_json::json!([]));
    assert_eq!(ctl.json(&format!("apply {file}"))["changes"], serde_json::json!([]));
}

#[test]
fn a_wrong_candidate_changes_nothing() {
    let (lab, daemon, _nics) = scene();
    let ctl = daemon.ctl();
    let before = daemon.config();
    for (text, words) in [
        (before.replace("access = 10", "acess = 10"), "access"),
        (before.replace("access = 10", "access = 4095"), "4094"),
        (before.clone() + "[port.web]\ntype = \"netdev\"\n", "device"),
        (before.clone() + "[port.web]\ntype = \"netdef\"\ndevice = \"tap0\"\n", "netdev"),
        (before.clone() + "[port.web\n", "`]`"),
        (before.clone() + "[prot.web]\n", "port"),
        (
            before.clone()
                + "[port.web]\ntype = \"netdev\"\ndevice = \"tap0\"\nvlan = { trunk = [] }\n",
            "all",
        ),
    ] {
        let file = lab.write("wrong.toml", &text);
        for command in ["check", "diff", "apply"] {
            let errors = ctl.refused(1, &format!("{command} {}", file.display()));
            assert!(errors.contains(words), "{command} does not mention {words}: {errors}");
            assert!(errors.contains("wrong.toml"), "{errors}");
        }
    }
    assert_eq!(daemon.config(), before);
    assert_eq!(ctl.port("db")["vlan"]["access"], 10);
    ctl.refused(1, "apply /nowhere/weft.toml");
}

#[test]
fn errors_point_at_line_and_column() {
    let (lab, daemon, _nics) = scene();
    let file = lab.write(
        "wrong.toml",
        "[port.web]\ntype = \"netdev\"\ndevise = \"tap0\"\nvlan = { access = 10 }\n",
    );
    let errors = daemon.ctl().refused(1, &format!("check {}", file.display()));
    assert!(errors.contains(":3:") || errors.contains("line 3"), "{errors}");
    assert!(errors.contains("device"), "{errors}");
}

#[test]
fn the_running_configuration_is_shown() {
    let (_lab, daemon, _nics) = scene();
    let ctl = daemon.ctl();
    let shown = ctl.run("config show");
    assert!(shown.contains("[port.db]") && shown.contains("tap1"), "{shown}");
    let document = ctl.json("config show");
    for key in ["running", "file", "path", "revision"] {
        assert!(document[key].is_string(), "{key}: {document}");
    }
    assert_eq!(document["file"], daemon.config());
}
