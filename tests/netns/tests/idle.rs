//! A daemon with nothing to do does nothing: no processor time, little memory.
//!
//! ```text
//!   four TAPs, two taps, two streams ── switch
//! ```

use std::{fs, thread, time::Duration};

use weft_netns::{Lab, Nic, StreamGuest};

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn an_idle_daemon_uses_nothing(workers: usize) {
    let lab = Lab::with_workers(workers);
    let _nics: Vec<_> = (0..4).map(|n| Nic::open(lab.switch(), &format!("nic{n}"))).collect();
    let mut config = String::new();
    for n in 0..4 {
        config += &format!(
            "[port.nic{n}]\ntype = \"netdev\"\ndevice = \"nic{n}\"\nvlan = {{ access = 10 }}\n"
        );
    }
    for n in 0..2 {
        let socket = lab.path(&format!("s{n}.sock"));
        config += &format!(
            "[port.tap{n}]\ntype = \"tap\"\ndevice = \"weft{n}\"\nvlan = {{ trunk = \"all\" }}\n"
        );
        config += &format!(
            "[port.s{n}]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
            socket.display()
        );
    }
    let daemon = lab.daemon(&config);
    let _guests = [0, 1].map(|n| StreamGuest::connect(&lab.path(&format!("s{n}.sock"))));
    for port in ["nic0", "nic3", "tap1", "s0", "s1"] {
        daemon.ctl().wait_for_state(port, "up");
    }
    // A measurement takes time: three seconds are 300 ticks of a processor, of which one in a hundred is allowed.
    let before = cpu_ticks(daemon.pid());
    thread::sleep(Duration::from_secs(3));
    let used = cpu_ticks(daemon.pid()) - before;
    assert!(used <= 3, "{used} ticks of 300");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 64 * 1024, "{resident} KiB resident");
}

weft_netns::each_worker_count!(an_idle_daemon_uses_nothing);
