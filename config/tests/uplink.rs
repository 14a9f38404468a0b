//! `[uplink.DEVICE]`: read, refused, compared, written and edited.

use weft_config::{Config, Edit, UplinkConfig, api::AdoptUplink, diff};

const PORTS: &str = "[port.host]
type = \"tap\"
device = \"weft0\"
vlan = { access = 10 }

[port.nic]
type = \"netdev\"
device = \"eth0\"
vlan = { access = 10 }
";

fn parse(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| panic!("{}", errors.plain()))
}

fn refused(text: &str, expected: &str) {
    let errors = Config::parse(text).expect_err("it is a configuration");
    assert_eq!(errors.plain().trim(), expected.trim());
}

fn adopt(device: &str, port: &str) -> AdoptUplink {
    AdoptUplink {
        device: device.to_owned(),
        port: port.to_owned(),
        name: None,
        unchecked: false,
        may_exist: false,
    }
}

#[test]
fn an_uplink_is_read_compared_and_written() {
    let text = format!("{PORTS}\n[uplink.eth0]\nport = \"host\"\n");
    let config = parse(&text);
    assert_eq!(config.uplinks["eth0"], UplinkConfig { port: "host".to_owned() });
    assert_eq!(parse(&config.to_toml()), config);
    let changes = diff(&parse(PORTS), &config);
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["uplink.eth0"]);
}

#[test]
fn what_cannot_be_an_uplink_is_told_why() {
    refused(
        &format!("{PORTS}\n[uplink.eth1]\nport = \"host\"\n"),
        "11:9: uplink eth1: no port has the device eth1
  help: `weftctl uplink adopt eth1 --port host` writes both; or write a `[port.NAME]` with `type = \"netdev\"` and `device = \"eth1\"`",
    );
    refused(
        &format!("{PORTS}\n[uplink.eth0]\nport = \"hosts\"\n"),
        "12:8: uplink eth0: there is no port \"hosts\"\n  help: did you mean \"host\"?",
    );
    refused(
        &format!("{PORTS}\n[uplink.eth0]\nport = \"nic\"\n"),
        "12:8: uplink eth0: port nic is not of type \"tap\"
  help: the host has its addresses on the device of a tap port",
    );
    refused(
        &format!("[switch.lab]\n{PORTS}switch = \"lab\"\n[uplink.eth0]\nport = \"host\"\n"),
        "12:9: uplink eth0: port nic is on switch lab, port host on switch main
  help: the host would not be reached: put both on one switch",
    );
    let second = PORTS.replace("host", "h2").replace("weft0", "weft1");
    let second = second.replace("port.nic", "port.nic2").replace("eth0", "eth1");
    refused(
        &format!(
            "{PORTS}{second}\n[uplink.eth0]\nport = \"host\"\n[uplink.eth1]\nport = \"host\"\n"
        ),
        "23:8: uplink eth1: port host has the addresses of uplink eth0 already
  21:8: uplink eth0 here
  help: each uplink needs a tap port of its own",
    );
    refused(
        &format!("{PORTS}\n[uplink.\"eth 0\"]\nport = \"host\"\nports = 1\n"),
        "11:9: the uplink name \"eth 0\" contains ' '
  help: for example `[uplink.eth-0]`
13:1: uplink \"eth 0\": unknown key \"ports\"
  help: did you mean `port`?",
    );
}

#[test]
fn adopting_writes_the_port_and_the_uplink_and_releasing_takes_both_out() {
    let text = "# ours\n[port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nvlan = { trunk = [10, 20], native = 20 } # both\n";
    let adopted = Edit::AdoptUplink(adopt("eth0", "host")).apply(text).unwrap();
    assert_eq!(
        adopted,
        format!(
            "{text}\n[port.eth0]\ntype = \"netdev\"\ndevice = \"eth0\"\nvlan = {{ trunk = [10, 20], native = 20 }}\n\
             \n[uplink.eth0]\nport = \"host\"\n"
        )
    );
    let config = parse(&adopted);
    assert_eq!(config.ports["eth0"].vlan, config.ports["host"].vlan);
    let released = Edit::ReleaseUplink { device: "eth0".to_owned() }.apply(&adopted).unwrap();
    assert_eq!(parse(&released), parse(text));
    assert!(released.starts_with("# ours\n"), "{released}");
}

#[test]
fn a_nic_that_is_a_port_already_stays_that_port() {
    let adopted = Edit::AdoptUplink(adopt("eth0", "host")).apply(PORTS).unwrap();
    assert_eq!(adopted, format!("{PORTS}\n[uplink.eth0]\nport = \"host\"\n"));
    let again = Edit::AdoptUplink(adopt("eth0", "host")).apply(&adopted).unwrap_err();
    assert_eq!(again.code(), "exists");
    let may_exist = AdoptUplink { may_exist: true, ..adopt("eth0", "host") };
    assert_eq!(Edit::AdoptUplink(may_exist).apply(&adopted).unwrap(), adopted);
}

#[test]
fn what_cannot_be_adopted_is_told_why() {
    let refusal = |adopt: AdoptUplink| {
        let error = Edit::AdoptUplink(adopt).apply(PORTS).unwrap_err().body();
        format!("{}: {}; {}", error.code, error.message, error.help.unwrap_or_default())
    };
    assert_eq!(
        refusal(adopt("eth1", "hots")),
        "not-found: there is no port hots; did you mean host?"
    );
    assert_eq!(
        refusal(adopt("eth1", "nic")),
        "invalid-request: port nic is not of type \"tap\"; the host has its addresses on the device of a tap port: \
         `weftctl port add host --type tap --device weft0 --access VLAN` makes one"
    );
    assert_eq!(
        refusal(adopt("eth1.5", "host")),
        "invalid-request: the port cannot be called \"eth1.5\": it contains '.'; letters, digits, `-` and `_` are \
         allowed; name it yourself: `--as NAME`"
    );
    let named = AdoptUplink { name: Some("up".to_owned()), ..adopt("eth1.5", "host") };
    let text = Edit::AdoptUplink(named).apply(PORTS).unwrap();
    assert!(text.contains("[port.up]") && text.contains("[uplink.\"eth1.5\"]"), "{text}");
    let released = Edit::ReleaseUplink { device: "eth1.5".to_owned() }.apply(&text).unwrap();
    assert_eq!(parse(&released), parse(PORTS));
}

#[test]
fn ports_of_an_uplink_are_in_use() {
    let text = format!("{PORTS}\n[uplink.eth0]\nport = \"host\"\n");
    let error = Edit::RemovePort { name: "host".to_owned() }.apply(&text).unwrap_err();
    assert_eq!(error.to_string(), "port host is in use by uplink eth0");
    let without = Edit::RemovePort { name: "nic".to_owned() }.apply(&text).unwrap();
    assert!(Config::parse(&without).is_err());
}
