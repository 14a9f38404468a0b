//! Files with mistakes: every message, its line and column and its help, as an administrator reads them.

use weft_config::Config;

/// Compares the plain mistakes of a text with what is expected.
#[track_caller]
fn refused(text: &str, expected: &str) {
    match Config::parse(text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(errors) => assert_eq!(errors.plain(), expected.trim()),
    }
}

#[test]
fn a_misspelt_key_names_the_near_one() {
    refused(
        r##"[daemon]
worker = 2

[port.web1]
type = "netdev"
device = "tap0"
vlna = { access = 10 }

[port.web2]
type = "netdev"
device = "tap1"
mac_limit = 5
colour = "red"
vlan = { access = 10, trnk = 1 }
"##,
        r##"
2:1: daemon: unknown key "worker"
  help: did you mean `workers`?
7:1: port web1: unknown key "vlna"
  help: did you mean `vlan`?
12:1: port web2: unknown key "mac_limit"
  help: did you mean `mac-limit`?
13:1: port web2: unknown key "colour"
  help: known here: `switch`, `type`, `vlan`, `enabled`, `mtu`, `mac-limit`, `macs`, `ips`, `isolated`, `flood-limit`, `device`, `io`
14:23: port web2: vlan: unknown key "trnk"
  help: did you mean `trunk`?
"##,
    );
}

#[test]
fn a_misspelt_section_names_the_near_one() {
    refused(
        r##"[prot.web1]
[colours]
"##,
        r##"
1:2: unknown section "prot"
  help: did you mean `[port]`?
2:2: unknown section "colours"
  help: the sections are `daemon`, `switch`, `vlan`, `port`, `uplink`, `fdb`, `segment`, `vpn`, `wireguard`
"##,
    );
}

#[test]
fn keys_of_daemon_at_the_top_are_sent_to_their_section() {
    refused(
        r##"workers = 2
"##,
        r##"
1:1: unknown section "workers"
  help: `workers` belongs under `[daemon]`
"##,
    );
}

#[test]
fn what_this_version_lacks_is_said_plainly() {
    refused(
        r##"[daemon]
metrics = "127.0.0.1:9733"
web = "127.0.0.1:9734"

[port.web1]
type = "netdev"
device = "tap0"
io = "af-xdp"
vlan = { access = 10 }
"##,
        r##"
2:1: daemon: this version of weft has no `metrics`
  help: take the line out
3:1: daemon: this version of weft has no `web`
  help: take the line out
8:6: port web1: `io` takes "packet" or "xdp", not "af-xdp"
  help: "packet" carries super-frames whole, "xdp" carries small frames faster
"##,
    );
}

#[test]
fn sections_have_their_form() {
    refused(
        r##"daemon = 1
switch = 5
vlan.office = 10
[[port]]
type = "tap"
[fdb]
mac = "52:54:00:12:34:56"
"##,
        r##"
1:10: `daemon` is a table: write `[daemon]`
2:1: `switch` holds tables with names: write `[switch.NAME]`
3:15: vlan office is a table, not 10
  help: write `[vlan.NAME]` above its keys
4:3: `port` holds tables with names: write `[port.NAME]`
6:2: `fdb` is a list of tables: write `[[fdb]]`, with two brackets
"##,
    );
}

#[test]
fn numbers_stay_within_their_bounds() {
    refused(
        r##"[daemon]
workers = 0

[switch.main]
mac-limit = 99999999999999999999999999

[vlan.office]
id = 4095

[port.web1]
type = "tap"
device = "weft0"
queues = 17
mtu = 67
mac-limit = -1
flood-limit = "0/s"
vlan = { access = 10 }
"##,
        r##"
2:11: daemon: `workers` takes a number from 1 to 64, not 0
  help: for example `workers = 1`
5:13: switch main: `mac-limit` takes a number from 1 to 1048576, not 999999999999999999999999…
  help: for example `mac-limit = 64`
8:6: vlan office: `id` takes a number from 1 to 4094, not 4095
  help: for example `id = 10`
13:10: port web1: `queues` takes a number from 1 to 16, not 17
  help: for example `queues = 1`
14:7: port web1: `mtu` takes a number from 68 to 65535, not 67
  help: for example `mtu = 1500`
15:13: port web1: `mac-limit` takes a number from 1 to 1048576, not -1
  help: for example `mac-limit = 64`
16:15: port web1: `flood-limit` takes frames a second from "1/s" to "100000000/s", not "0/s"
  help: for example `flood-limit = "1000/s"`
"##,
    );
}

#[test]
fn times_have_a_unit() {
    refused(
        r##"[switch.main]
mac-ageing = 300

[switch.lab]
mac-ageing = "5 minutes"

[switch.x]
mac-ageing = "0s"
"##,
        r##"
2:14: switch main: `mac-ageing` takes a time from "1s" to "1000000s", not 300
  help: write the unit: `mac-ageing = "300s"`
5:14: switch lab: `mac-ageing` takes a time from "1s" to "1000000s", not "5 minutes"
  help: a number with its unit: "300s", "5m", "1h" or "1d"
8:14: switch x: `mac-ageing` takes a time from "1s" to "1000000s", not "0s"
  help: a number with its unit: "300s", "5m", "1h" or "1d"
"##,
    );
}

#[test]
fn a_value_of_another_type_is_told_what_belongs_there() {
    refused(
        r##"[port.web1]
type = 5
vlan = 10
enabled = "yes"
mtu = 1500.0
macs = "52:54:00:12:34:56"
ips = { a = 1 }
isolated = 1
flood-limit = 1000

[port.web2]
type = "netdev"
device = ["x"]
vlan = { access = true }
mtu = "1500"
mac-limit = 1979-05-27
"##,
        r##"
2:8: port web1: `type` takes "netdev", "tap", "vhost-user" or "stream", not 5
  help: for example `type = "netdev"`
3:8: port web1: `vlan` takes a table with the mode, not 10
  help: write `vlan = { access = 10 }`
4:11: port web1: `enabled` takes true or false, not "yes"
  help: for example `enabled = true`
5:7: port web1: `mtu` takes a number from 68 to 65535, not 1500.0
  help: for example `mtu = 1500`
6:8: port web1: `macs` takes a list of MAC addresses, not "52:54:00:12:34:56"
  help: for example `macs = ["52:54:00:12:34:56"]`
7:7: port web1: `ips` takes a list of IP addresses, not a table
  help: for example `ips = ["10.10.0.5", "fd00::5"]`
8:12: port web1: `isolated` takes true or false, not 1
  help: for example `isolated = true`
9:15: port web1: `flood-limit` takes frames a second from "1/s" to "100000000/s", not 1000
  help: write `flood-limit = "1000/s"`
13:10: port web2: `device` takes a device's name, not a list
  help: for example `device = "tap0"`
14:19: port web2: vlan: `access` takes a VLAN from 1 to 4094 or a VLAN's name, not true
  help: for example 10
15:7: port web2: `mtu` takes a number from 68 to 65535, not "1500"
  help: for example `mtu = 1500`
16:13: port web2: `mac-limit` takes a number from 1 to 1048576, not the date 1979-05-27
  help: for example `mac-limit = 64`
"##,
    );
}

#[test]
fn names_are_words() {
    refused(
        r##"[vlan.10]
id = 10
[vlan."office.lan"]
id = 20
[vlan.all]
id = 30
[port."a b"]
type = "tap"
device = "t0"
vlan = { access = 1 }
[switch.-x]
[switch.""]
"##,
        r##"
1:7: the VLAN name "10" looks like a number or a range; a VLAN's name needs a letter
  help: for example `[vlan.v10]`
3:7: the VLAN name "office.lan" contains '.'; letters, digits, `-` and `_` are allowed
  help: for example `[vlan.office-lan]`
5:7: the VLAN name "all" means every VLAN in a trunk
  help: for example `[vlan.vall]`
7:7: the port name "a b" contains ' '; letters, digits, `-` and `_` are allowed
  help: for example `[port.a-b]`
11:9: the switch name "-x" begins with `-`
  help: for example `[switch.x]`
12:9: the switch name "" is empty
  help: for example `[switch.switch1]`
"##,
    );
}

#[test]
fn a_vlan_has_one_name() {
    refused(
        r##"[vlan.office]
[vlan.a]
id = 20
[vlan.b]
id = 20
"##,
        r##"
1:7: vlan office: `id` is missing
  help: add `id = 10`
5:6: vlan b: VLAN 20 has a name already: a
  3:6: VLAN 20 is a here
  help: a VLAN has one name; take one of the two out
"##,
    );
}

#[test]
fn a_port_needs_a_type_and_a_vlan() {
    refused(
        r##"[port.web1]

[port.web2]
type = "netdv"
vlan = { native = 10 }

[port.web3]
type = "tap"
vlan = { access = 10 }

[port.web4]
type = "stream"
vlan = { access = 10 }
"##,
        r##"
1:7: port web1: `type` is missing
  help: add `type = "netdev"`
1:7: port web1: `vlan` is missing
  help: write `vlan = { access = 10 }`, `vlan = { trunk = [10, 20] }` or `vlan = { trunk = "all" }`
4:8: port web2: `type` takes "netdev", "tap", "vhost-user" or "stream", not "netdv"
  help: did you mean "netdev"?
5:8: port web2: vlan: one of `access`, `trunk`, `dot1q-tunnel` is missing
  help: write `vlan = { access = 10 }`, `vlan = { trunk = [10, 20] }` or `vlan = { trunk = "all" }`
7:7: port web3: `device` is missing
  help: add `device = "tap0"`
11:7: port web4: `socket` is missing
  help: add `socket = "/run/weft/ports/dev1/dev1.sock"`
"##,
    );
}

#[test]
fn unknown_names_name_the_near_one() {
    refused(
        r##"[vlan.office]
id = 10

[port.web1]
type = "netdev"
switch = "mian"
device = "tap0"
vlan = { access = "ofice" }

[port.web2]
type = "netdev"
switch = "laboratory"
device = "tap1"
vlan = { trunk = ["guests"], native = "x.y" }

[[fdb]]
mac = "52:54:00:12:34:56"
vlan = "Office"
port = "wbe1"
"##,
        r##"
6:10: port web1: there is no switch "mian"
  help: did you mean "main"?
8:19: port web1: vlan: `access`: there is no VLAN "ofice"
  help: did you mean "office"?
12:10: port web2: there is no switch "laboratory"
  help: declare it: `[switch.laboratory]`
14:19: port web2: vlan: `trunk`: there is no VLAN "guests"
  help: declare it: `[vlan.guests]` with `id = 10`, or `weftctl vlan add guests --id 10`; or write its number
14:39: port web2: vlan: `native`: there is no VLAN "x.y"
  help: write a number from 1 to 4094, or the name of a `[vlan.NAME]`
18:8: fdb entry 1: `vlan`: there is no VLAN "Office"
  help: did you mean "office"?
19:8: fdb entry 1: there is no port "wbe1"
  help: did you mean "web1"?
"##,
    );
}

#[test]
fn devices_have_a_kernels_name() {
    refused(
        r##"[port.a]
type = "netdev"
device = "a-very-long-device-name"
vlan = { access = 10 }
[port.b]
type = "tap"
device = "weft%d"
vlan = { access = 10 }
[port.c]
type = "tap"
device = ""
vlan = { access = 10 }
[port.d]
type = "tap"
device = ".."
vlan = { access = 10 }
"##,
        r##"
3:10: port a: the device name "a-very-long-device-name" has 23 bytes; 15 are allowed
  help: as `ip link` shows it, for example "tap0"
7:10: port b: the device name "weft%d" contains '%'
  help: as `ip link` shows it, for example "tap0"
11:10: port c: the device name "" is empty
  help: as `ip link` shows it, for example "tap0"
15:10: port d: the device name ".." is no device
  help: as `ip link` shows it, for example "tap0"
"##,
    );
}

#[test]
fn one_device_or_socket_belongs_to_one_port() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { access = 10 }
[port.b]
type = "netdev"
device = "t0"
vlan = { access = 10 }
[port.c]
type = "stream"
socket = "/run/weft/c.sock"
vlan = { access = 10 }
[port.d]
type = "stream"
socket = "/run//weft/./c.sock"
vlan = { access = 10 }
"##,
        r##"
7:10: port b: device "t0" belongs to port a already
  3:10: port a has it
  help: a device is attached to one port
15:10: port d: socket "/run/weft/c.sock" belongs to port c already
  11:10: port c has it
  help: a socket is attached to one port
"##,
    );
}

#[test]
fn keys_of_another_type_are_refused() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
io = "packet"
socket = "/x"
vlan = { access = 10 }
[port.b]
type = "stream"
socket = "/x"
device = "t1"
queues = 1
vlan = { access = 10 }
"##,
        r##"
4:1: port a: a tap port has no `io`
  help: `io` goes with type netdev; a tap port has `device`, `queues`
5:1: port a: a tap port has no `socket`
  help: `socket` goes with type vhost-user or stream; a tap port has `device`, `queues`
10:1: port b: a stream port has no `device`
  help: `device` goes with type netdev or tap; a stream port has `socket`, `mode`, `owner`, `group`, `socket-mode`
11:1: port b: a stream port has no `queues`
  help: `queues` goes with type tap or vhost-user; a stream port has `socket`, `mode`, `owner`, `group`, `socket-mode`
"##,
    );
}

#[test]
fn sockets_have_a_path_and_an_owner() {
    refused(
        r##"[port.a]
type = "stream"
socket = "relative.sock"
mode = "sever"
owner = ""
group = "a b"
socket-mode = 660
vlan = { access = 10 }
[port.b]
type = "stream"
socket = "/run/../b.sock"
socket-mode = "0888"
vlan = { access = 10 }
[port.c]
type = "stream"
socket = "/run/c.sock"
mode = "client"
owner = "libvirt-qemu"
socket-mode = "0660"
vlan = { access = 10 }
"##,
        r##"
3:10: port a: the socket path "relative.sock" does not begin with `/`
  help: for example "/run/weft/ports/dev1/dev1.sock"
4:8: port a: `mode` takes "server" or "client", not "sever"
  help: "server": weftd listens, "client": QEMU listens
5:9: port a: `owner` takes a user's name, not ""
  help: for example `owner = "libvirt-qemu"`
6:9: port a: `group` takes a group's name, not "a b"
  help: for example `group = "libvirt-qemu"`
7:15: port a: `socket-mode` takes permission bits from "0000" to "0777", not 660
  help: in octal and in quotes, for example `socket-mode = "0660"`
11:10: port b: the socket path "/run/../b.sock" contains `..`
  help: for example "/run/weft/ports/dev1/dev1.sock"
12:15: port b: `socket-mode` takes permission bits from "0000" to "0777", not "0888"
  help: in octal and in quotes, for example `socket-mode = "0660"`
19:1: port c: `socket-mode` is for sockets that weftd makes
  help: with `mode = "client"` the socket is QEMU's; take it out
"##,
    );
}

#[test]
fn an_empty_list_is_an_error_that_teaches() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { trunk = [] }
macs = []
ips = []
[port.b]
type = "tap"
device = "t1"
vlan = { dot1q-tunnel = 300, customer = [] }
"##,
        r##"
4:18: port a: vlan: `trunk` is an empty list
  help: say `trunk = "all"` for every VLAN, or list the ones meant, as in `trunk = [10, 20]`
5:8: port a: `macs` is an empty list
  help: leave `macs` away to allow every address, or list the ones allowed
6:7: port a: `ips` is an empty list
  help: leave `ips` away to allow every address, or list the ones allowed
10:41: port b: vlan: `customer` is an empty list
  help: list the customer's VLANs, or leave `customer` away to let everything through
"##,
    );
}

#[test]
fn trunk_lists_hold_vlans_ranges_and_names() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { trunk = [10, "199-100", "all", "0-5", 4095, 0, [1], "10-", true] }
[port.b]
type = "tap"
device = "t1"
vlan = { trunk = 10 }
[port.c]
type = "tap"
device = "t2"
vlan = { trunk = "10-20" }
"##,
        r##"
4:23: port a: vlan: `trunk` has the range "199-100", which ends before it begins
  help: write "100-199"
4:34: port a: vlan: "all" stands in the list of `trunk`
  help: write `trunk = "all"`, without brackets
4:41: port a: vlan: `trunk` has the range "0-5"; VLANs are 1 to 4094
  help: for example "100-199"
4:48: port a: vlan: `trunk` takes a VLAN from 1 to 4094 or a VLAN's name, not 4095
  help: 4095 is reserved by IEEE 802.1Q
4:54: port a: vlan: `trunk` takes a VLAN from 1 to 4094 or a VLAN's name, not 0
  help: 0 marks a frame that has only a priority; it is no VLAN
4:57: port a: vlan: `trunk` takes a VLAN from 1 to 4094 or a VLAN's name, not a list
  help: for example 10
4:62: port a: vlan: `trunk`: there is no VLAN "10-"
  help: write a number from 1 to 4094, or the name of a `[vlan.NAME]`
4:69: port a: vlan: `trunk` takes a VLAN from 1 to 4094 or a VLAN's name, not true
  help: for example 10
8:18: port b: vlan: `trunk` takes a list of VLANs or "all", not 10
  help: write `trunk = [10]`
12:18: port c: vlan: `trunk` takes a list of VLANs or "all", not "10-20"
  help: for example `trunk = [10, 20, "100-199"]`
"##,
    );
}

#[test]
fn the_native_vlan_is_a_member() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { trunk = [10, 20], native = 30 }
[port.b]
type = "tap"
device = "t1"
vlan = { trunk = [10, 20], native-tagged = true, ethertype = "0x88a8" }
"##,
        r##"
4:37: port a: vlan: the native VLAN 30 is not in the trunk's list
  4:18: the members
  help: add 30 to `trunk`, or choose a native VLAN from the list
8:28: port b: vlan: `native-tagged` without `native`
  help: add `native = 10`, or take it out
8:62: port b: vlan: `ethertype` takes "802.1Q" or "802.1ad", not "0x88a8"
  help: write `ethertype = "802.1ad"`
"##,
    );
}

#[test]
fn a_port_has_one_vlan_mode() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { access = 10, trunk = [10] }
[port.b]
type = "tap"
device = "t1"
vlan = { access = [10, 20], native = 10, customer = [5] }
[port.c]
type = "tap"
device = "t2"
vlan = { trunk = "all", customer = [5] }
[port.d]
type = "tap"
device = "t3"
vlan = { dot1q-tunnel = 300, native = 10 }
"##,
        r##"
4:23: port a: vlan: `access` and `trunk` exclude each other
  4:10: the first mode
  help: a port has one mode; take one of the two out
8:19: port b: vlan: `access` takes a VLAN from 1 to 4094 or a VLAN's name, not a list
  help: `access` takes one VLAN; several are a `trunk`
8:29: port b: vlan: an access port has no `native`
  help: `native` goes with `trunk`; take it out
8:42: port b: vlan: an access port has no `customer`
  help: `customer` goes with `dot1q-tunnel`; take it out
12:25: port c: vlan: a trunk has no `customer`
  help: `customer` goes with `dot1q-tunnel`; take it out
16:30: port d: vlan: a dot1q-tunnel port has no `native`
  help: `native` goes with `trunk`; take it out
"##,
    );
}

#[test]
fn only_hosts_addresses_guard_a_port() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { access = 10 }
macs = ["01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "52:54", 5]
ips = ["10.0.0.0/24", "224.0.0.1", "ff02::1", "0.0.0.0", "255.255.255.255", "::ffff:10.0.0.1", "host"]
"##,
        r##"
5:9: port a: `macs` has 01:00:5e:00:00:01, which is a group address: no host sends from it
  help: write the address of one host; the first octet is even
5:30: port a: `macs` has 00:00:00:00:00:00, which is all zero: no host sends from it
  help: write the address of one host; the first octet is even
5:51: port a: `macs` has ff:ff:ff:ff:ff:ff, which is the broadcast address: no host sends from it
  help: write the address of one host; the first octet is even
5:72: port a: `macs` takes a MAC address, not "52:54"
  help: six hexadecimal octets, as in "52:54:00:12:34:56"
5:81: port a: `macs` takes a MAC address, not 5
  help: for example `macs = ["52:54:00:12:34:56"]`
6:8: port a: `ips` takes an IPv4 or IPv6 address, not "10.0.0.0/24"
  help: single addresses without a prefix: "10.0.0.0"
6:23: port a: `ips` has 224.0.0.1, which is a multicast address
  help: write the address of one host
6:36: port a: `ips` has ff02::1, which is a multicast address
  help: write the address of one host
6:47: port a: `ips` has 0.0.0.0, which is the unspecified address
  help: write the address of one host
6:58: port a: `ips` has 255.255.255.255, which is the broadcast address
  help: write the address of one host
6:77: port a: `ips` has ::ffff:10.0.0.1, which is an IPv4-mapped one
  help: write "10.0.0.1"
6:96: port a: `ips` takes an IPv4 or IPv6 address, not "host"
  help: for example `ips = ["10.10.0.5", "fd00::5"]`
"##,
    );
}

#[test]
fn static_entries_are_hosts_on_members() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { trunk = [10, "12-19"] }
[[fdb]]
mac = "52:54:00:12:34:56"
vlan = 20
port = "a"
[[fdb]]
mac = "52:54:00:12:34:57"
vlan = 10
port = "a"
[[fdb]]
mac = "52-54-00-12-34-57"
vlan = 10
port = "a"
[[fdb]]
mac = "01:00:5e:00:00:01"
vlan = 10
port = "a"
age = 1
[[fdb]]
mac = "52:54:00:12:34:58"
"##,
        r##"
7:8: fdb entry 1: port a is not a member of VLAN 20
  4:8: port a is trunk 10, 12-19
  help: write a VLAN of port a, or make it a member of VLAN 20
14:7: fdb entry 3: 52:54:00:12:34:57 is static in VLAN 10 already
  10:7: first here
  help: an address is in one place; keep one of the two
18:7: fdb entry 4: `mac` has 01:00:5e:00:00:01, which is a group address: no host sends from it
  help: write the address of one host; the first octet is even
21:1: fdb entry 4: unknown key "age"
  help: known here: `mac`, `vlan`, `port`
22:1: fdb entry 5: `vlan` is missing
  help: add `vlan = 10`
22:1: fdb entry 5: `port` is missing
  help: add `port = "web1"`
"##,
    );
}

#[test]
fn an_entry_on_a_port_with_a_mistake_is_not_blamed() {
    refused(
        r##"[port.a]
type = "tap"
device = "t0"
vlan = { access = 0 }
[[fdb]]
mac = "52:54:00:12:34:56"
vlan = 20
port = "a"
"##,
        r##"
4:19: port a: vlan: `access` takes a VLAN from 1 to 4094 or a VLAN's name, not 0
  help: 0 marks a frame that has only a priority; it is no VLAN
"##,
    );
}

#[test]
fn bare_words_need_quotes() {
    refused(
        r##"[port.web1]
type = tap
device = a
enabled = yes
macs = [52:54:00:12:34:56]
flood-limit = 1000/s
socket = /run/x
owner = root # x
"##,
        r##"
2:8: "tap" needs quotes
  help: write "tap"
3:10: "a" needs quotes
  help: write "a"
4:11: "yes" needs quotes
  help: write `true`
5:9: "52:54:00:12:34:56" needs quotes
  help: write "52:54:00:12:34:56"
6:15: "1000/s" needs quotes
  help: write "1000/s"
7:10: "/run/x" needs quotes
  help: write "/run/x"
8:9: "root" needs quotes
  help: write "root"
"##,
    );
}

#[test]
fn what_is_written_twice_is_named() {
    refused(
        r##"[port.web1]
type = "tap"

[port.web1]
mtu = 1
mtu = 2
"##,
        r##"
4:7: "web1" is written twice
  1:7: first here
  help: keep one of the two
6:1: "mtu" is written twice
  help: keep one of the two
"##,
    );
}

#[test]
fn an_unclosed_string_ends_the_search() {
    refused(
        r##"[port.web1]
type = "tap
device = x
mtu = 5
"##,
        r##"
2:12: this is not TOML: invalid basic string, expected `"`
"##,
    );
}

#[test]
fn an_unclosed_table_ends_the_search() {
    refused(
        r##"[port.web1]
vlan = { access = 10
mtu = 5
"##,
        r##"
3:1: this is not TOML: missing comma between key-value pairs, expected `,`
"##,
    );
}

#[test]
fn an_unclosed_header_ends_the_search() {
    refused(
        r##"[port.web1
mtu = 5
"##,
        r##"
1:11: this is not TOML: unclosed table, expected `]`
"##,
    );
}

#[test]
fn columns_count_characters() {
    refused(
        r##"port."ä" = { type = "tap", device = "tür", vlan = { access = "über" } }
"##,
        r##"
1:6: the port name "ä" contains 'ä'; letters, digits, `-` and `_` are allowed
  help: for example `[port.port1]`
1:62: port "ä": vlan: `access`: there is no VLAN "über"
  help: write a number from 1 to 4094, or the name of a `[vlan.NAME]`
"##,
    );
}
