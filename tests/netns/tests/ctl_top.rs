//! `weftctl top` in a real terminal: tmux draws it and types the keys.
//!
//! ```text
//!   tap0, tap1 ── switch ── weftd.sock ── weftctl top ── tmux
//! ```

use std::process::Command;

use weft_netns::{
    Ctl, Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
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

/// A terminal of 110 by 12 with a command in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn running(lab: &Lab, ctl: &Ctl, line: &[&str]) -> Self {
        let terminal = Self { socket: lab.path("tmux").display().to_string() };
        let command = ctl.command(line);
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        terminal.tmux(&["new-session", "-d", "-x", "110", "-y", "12", &words.join(" ")]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("tmux").args(["-S", &self.socket]).args(arguments).output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn is_there(&self) -> bool {
        let asked = Command::new("tmux").args(["-S", &self.socket, "list-sessions"]).output();
        asked.unwrap().status.success()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}

fn line_of<'a>(screen: &'a str, port: &str) -> Option<&'a str> {
    screen.lines().find(|line| line.starts_with(port))
}

#[test]
fn rates_are_live_and_keys_obeyed() {
    let lab = Lab::new();
    let mut nics = ["tap0", "tap1"].map(|device| Nic::open(lab.switch(), device));
    let daemon = lab.daemon(CONFIG);
    let ctl = daemon.ctl();
    for port in ["one", "two"] {
        ctl.wait_for_state(port, "up");
    }
    let terminal = Terminal::running(&lab, &ctl, &["top"]);
    until("both ports are drawn", || {
        let screen = terminal.screen();
        ["one", "two"]
            .iter()
            .all(|port| line_of(&screen, port).is_some_and(|line| line.contains("up")))
    });
    let frame = Frame::new(mac(1), BROADCAST).text("hello").bytes();
    until("frames have a rate", || {
        (0..50).for_each(|_| nics[0].send(&frame));
        let screen = terminal.screen();
        let rate = |port: &str, column: usize| {
            let word = line_of(&screen, port).and_then(|line| line.split_whitespace().nth(column));
            word.is_some_and(|word| word != "0")
        };
        // Behind name, VLAN in two words and state: rx of the one, tx of the other.
        rate("one", 4) && rate("two", 7)
    });
    terminal.press("r");
    until("the order is turned round", || {
        let screen = terminal.screen();
        let at = |port: &str| screen.lines().position(|line| line.starts_with(port));
        at("two").zip(at("one")).is_some_and(|(two, one)| two < one)
    });
    terminal.press("Tab");
    until("peers are shown", || terminal.screen().contains("0 peers"));
    terminal.press("Space");
    until("the clock stands", || terminal.screen().contains("stopped"));
    terminal.press("q");
    until("it has ended", || !terminal.is_there());
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let lab = Lab::new();
    let daemon = lab.daemon(CONFIG);
    for line in ["top", "--json top"] {
        let refused = daemon.ctl().refused(2, line);
        assert!(refused.contains("port list"), "{refused}");
    }
}
