//! Texts that were written to hurt: refused in bounded time, without a deep stack, with few words.

use std::fmt::Write as _;

use weft_config::{Config, limits};

/// Refuses a text on a stack far smaller than a main thread's, and returns the plain mistakes.
#[track_caller]
fn refused(text: String) -> String {
    let parse = move || match Config::parse(&text) {
        Ok(_) => panic!("accepted"),
        Err(errors) => {
            assert!(errors.mistakes().len() <= 100);
            errors.plain()
        }
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(parse).unwrap();
    let plain = thread.join().unwrap();
    assert!(plain.len() < 64 << 10, "{} bytes of mistakes", plain.len());
    plain
}

#[test]
fn a_text_too_long_is_not_read() {
    let plain = refused("#".repeat(limits::TEXT_MAX + 1));
    assert_eq!(plain, "1:1: the configuration has 4194305 bytes; 4194304 are allowed");
    assert!(Config::parse(&"#".repeat(limits::TEXT_MAX)).is_ok());
}

#[test]
fn deep_nesting_does_not_reach_the_stack() {
    let deep = 1 << 19;
    for text in [
        "[".repeat(deep),
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("a = {}", "{a=".repeat(deep)),
        format!("{} = 1", vec!["a"; deep].join(".")),
        format!("[{}]", vec!["a"; deep].join(".")),
        format!("port.a.vlan.trunk = {}1{}", "[".repeat(70), "]".repeat(70)),
    ] {
        refused(text);
    }
}

#[test]
fn strange_bytes_are_refused() {
    for text in [
        "\0",
        "a = \"\0\"",
        "[port.\0]",
        "# \0\n",
        "\u{7f}",
        "\u{202e} = 1",
        "port.\"\\u0000\".type = 1",
        "\r",
    ] {
        refused(text.to_owned());
    }
    let plain = refused(
        "port.a = { type = \"stream\", socket = \"/a\\u0000b\", vlan = { access = 1 } }".to_owned(),
    );
    assert_eq!(
        plain,
        "1:38: port a: the socket path \"/a\\0b\" contains a NUL\n  help: for example \"/run/weft/ports/dev1/dev1.sock\""
    );
}

#[test]
fn huge_numbers_are_out_of_range() {
    let digits = "9".repeat(1 << 20);
    for number in [
        digits.as_str(),
        "1e400",
        "-9223372036854775809",
        "0xffffffffffffffffffff",
        "inf",
        "nan",
        "18446744073709551616",
    ] {
        let plain = refused(format!("[daemon]\nworkers = {number}\n"));
        assert!(
            plain.starts_with("2:11: daemon: `workers` takes a number from 1 to 64, not "),
            "{plain}"
        );
    }
}

#[test]
fn long_words_are_quoted_in_part() {
    let long = "x".repeat(1 << 20);
    let plain = refused(format!(
        "{long} = 1\n[port.{long}]\ntype = \"{long}\"\nvlan = {{ access = \"{long}\" }}\n{long} = 1\n"
    ));
    assert!(plain.len() < 4096, "{plain}");
}

#[test]
fn many_mistakes_are_counted_not_listed() {
    let mut text = String::new();
    for number in 0..200_000 {
        let _ = writeln!(text, "x{number}=1");
    }
    let plain = refused(text);
    assert!(plain.ends_with("\nand 199900 more"), "{}", &plain[plain.len() - 100..]);

    let ports: String = (0..4000)
        .map(|n| format!("[port.a{n}]\ntype='tap'\ndevice='d{n}'\nvlan.access='v{n}'\n"))
        .collect();
    let vlans: String = (1..4000).map(|n| format!("[vlan.w{n}]\nid={n}\n")).collect();
    let plain = refused(format!("{vlans}{ports}"));
    assert!(plain.ends_with("\nand 3900 more"), "{}", &plain[plain.len() - 100..]);
}

#[test]
fn many_repeated_keys_are_refused() {
    refused("a=1\n".repeat(1 << 20));
    refused("[a]\n".repeat(1 << 14));
    refused("a=x\n".repeat(1 << 14));
}

#[test]
fn overlapping_ranges_cost_their_length_once() {
    let ranges = vec!["\"1-4094\""; limits::VLAN_LIST_MAX].join(",");
    let mut text = String::new();
    for number in 0..90 {
        let _ = writeln!(
            text,
            "[port.p{number}]\ntype='tap'\ndevice='d{number}'\nvlan={{trunk=[{ranges}]}}"
        );
    }
    assert!(text.len() < limits::TEXT_MAX);
    assert_eq!(Config::parse(&text).unwrap().ports.len(), 90);
    let plain = refused(format!("[port.p]\ntype='tap'\ndevice='d'\nvlan={{trunk=[{ranges},1]}}"));
    assert!(plain.contains("`trunk` has 4095 elements; 4094 are allowed"), "{plain}");
}

fn ports(count: usize) -> String {
    let port = |n: usize| {
        format!(
            "[port.p{n}]\ntype = \"netdev\"\ndevice = \"tap{n}\"\nvlan = {{ trunk = [10, 20, \"100-199\"], native = 10 }}\n\
             macs = [\"52:54:00:12:34:56\"]\nips = [\"10.10.0.5\", \"fd00::5\"]\nflood-limit = \"1000/s\"\n\n"
        )
    };
    (0..count).map(port).collect()
}

#[test]
fn as_many_ports_as_allowed_are_read_and_edited() {
    let text = ports(limits::PORTS_MAX);
    assert_eq!(Config::parse(&text).unwrap().ports.len(), limits::PORTS_MAX);
    let edited = weft_config::Edit::RemovePort { name: "p2000".to_owned() }.apply(&text).unwrap();
    assert_eq!(Config::parse(&edited).unwrap().ports.len(), limits::PORTS_MAX - 1);
}

#[test]
fn more_ports_than_allowed_are_refused() {
    let plain = refused(ports(10_000));
    assert_eq!(plain, "32769:7: there are 10000 ports; 4096 are allowed");
}

#[test]
fn more_entries_and_switches_than_allowed_are_refused() {
    let plain = refused("[[fdb]]\n".repeat(limits::FDB_MAX + 1));
    assert_eq!(plain, "65537:1: there are 65537 static entries; 65536 are allowed");
    let switches: String = (0..=limits::SWITCHES_MAX).map(|n| format!("[switch.s{n}]\n")).collect();
    assert_eq!(refused(switches), "257:9: there are 257 switches; 256 are allowed");
    let macs = vec!["'02:00:00:00:00:01'"; limits::ADDRESSES_MAX + 1].join(",");
    let plain = refused(format!("[port.p]\ntype='tap'\ndevice='d'\nvlan.access=1\nmacs=[{macs}]"));
    assert_eq!(plain, "5:6: port p: `macs` has 1025 addresses; 1024 are allowed");
}
