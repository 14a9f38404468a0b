//! How mistakes look: like a compiler's for people, on plain lines for logs, in short for one line.

use miette::{GraphicalReportHandler, GraphicalTheme};
use weft_config::{Config, ConfigErrors};

fn errors(text: &str) -> ConfigErrors {
    Config::parse(text).expect_err("the text has mistakes").with_name("weft.toml")
}

const THREE: &str = "[port.a]\ntype = \"tap\"\ndevice = \"t0\"\nvlan = { acess = 10 }\n\n[port.b]\ntype = \"tap\"\ndevice = \"t0\"\nvlan = { trunk = [10, 20], native = 30 }\n";

#[test]
fn every_mistake_is_shown_in_its_line() {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none()).with_width(100);
    handler.render_report(&mut out, &errors(THREE)).unwrap();
    let trimmed: Vec<&str> = out.lines().map(str::trim_end).collect();
    assert_eq!(
        trimmed.join("\n").trim(),
        r#"
  x weft.toml has 3 mistakes

Error:
  x port a: vlan: unknown key "acess"
   ,-[weft.toml:4:10]
 3 | device = "t0"
 4 | vlan = { acess = 10 }
   :          ^^|^^
   :            `-- unknown key
 5 |
   `----
  help: did you mean `access`?

Error:
  x port b: device "t0" belongs to port a already
   ,-[weft.toml:3:10]
 2 | type = "tap"
 3 | device = "t0"
   :          ^^|^
   :            `-- port a has it
 4 | vlan = { acess = 10 }
   `----
   ,-[weft.toml:8:10]
 7 | type = "tap"
 8 | device = "t0"
   :          ^^|^
   :            `-- again here
 9 | vlan = { trunk = [10, 20], native = 30 }
   `----
  help: a device is attached to one port

Error:
  x port b: vlan: the native VLAN 30 is not in the trunk's list
   ,-[weft.toml:9:37]
 8 | device = "t0"
 9 | vlan = { trunk = [10, 20], native = 30 }
   :                  ^^^^|^^^           ^|
   :                      |               `-- not a member
   :                      `-- the members
   `----
  help: add 30 to `trunk`, or choose a native VLAN from the list
"#
        .trim()
    );
}

#[test]
fn plain_lines_name_file_line_and_column() {
    assert_eq!(
        errors(THREE).plain(),
        "weft.toml:4:10: port a: vlan: unknown key \"acess\"\n  help: did you mean `access`?\n\
         weft.toml:8:10: port b: device \"t0\" belongs to port a already\n  weft.toml:3:10: port a has it\n  \
         help: a device is attached to one port\n\
         weft.toml:9:37: port b: vlan: the native VLAN 30 is not in the trunk's list\n  \
         weft.toml:9:18: the members\n  help: add 30 to `trunk`, or choose a native VLAN from the list"
    );
}

#[test]
fn one_mistake_fits_on_one_line() {
    let one = errors("[daemon]\nworkers = 0\n");
    assert_eq!(
        one.to_string(),
        "weft.toml, line 2: daemon: `workers` takes a number from 1 to 64, not 0"
    );
    let unnamed = Config::parse("[daemon]\nworkers = 0\n").unwrap_err();
    assert_eq!(
        unnamed.to_string(),
        "the configuration, line 2: daemon: `workers` takes a number from 1 to 64, not 0"
    );
    assert_eq!(errors(THREE).to_string(), "weft.toml has 3 mistakes");
}
