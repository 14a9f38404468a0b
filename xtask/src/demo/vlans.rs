//! VLANs shown: who talks, who must not, and a machine that moves.

use std::fs;

use anyhow::Result;
use weft_bench::{
    clock::wait_until,
    ear,
    lab::{Namespace, Process},
};

use super::stage::{
    COMMAND_LIMIT, DB1_ADDRESS, DESK_ADDRESS, DEV1_MAC, Stage, TILL_MAC, WEB1_ADDRESS, WEB2_ADDRESS,
};
use crate::say;

impl Stage<'_> {
    pub(crate) fn same_vlan_talks(&mut self) -> Result<()> {
        say::heading("web1, db1 and desk are in VLAN 10: they talk");
        let outcome =
            self.web1.run(&format!("ping -c 3 -i 0.2 -W 2 {DESK_ADDRESS}"), COMMAND_LIMIT)?;
        outcome.quote();
        self.check(outcome.success, "web1 reaches desk");
        let back = pings(&self.desk, WEB1_ADDRESS)?;
        self.check(back, "desk reaches web1");
        let outcome =
            self.db1.run(&format!("ping -c 3 -i 0.2 -W 2 {WEB1_ADDRESS}"), COMMAND_LIMIT)?;
        self.check(outcome.success, "db1 reaches web1");
        let back = pings(&self.desk, DB1_ADDRESS)?;
        self.check(back, "desk reaches db1");
        Ok(())
    }

    pub(crate) fn other_vlan_is_apart(&mut self) -> Result<()> {
        say::heading(
            "dev1 and till are in other VLANs: they are apart, though all addresses are of one subnet",
        );
        let ears = [self.listen(DEV1_MAC, "dev1.ear.log")?, self.listen(TILL_MAC, "till.ear.log")?];
        for (name, address) in
            [("web1", WEB1_ADDRESS), ("desk", DESK_ADDRESS), ("web2", WEB2_ADDRESS)]
        {
            let outcome =
                self.dev1.run(&format!("ping -c 2 -i 0.2 -W 1 {address}"), COMMAND_LIMIT)?;
            self.check(!outcome.success, &format!("dev1 (VLAN 20 on north) does not reach {name}"));
        }
        for (name, address) in [("desk", DESK_ADDRESS), ("web2", WEB2_ADDRESS)] {
            let reached = pings(&self.till, address)?;
            self.check(!reached, &format!("till (VLAN 10, but on south) does not reach {name}"));
        }
        let mut heard = 0;
        for ear in &ears {
            self.lab.stop(ear);
            heard += ear.output()?.lines().filter(|line| *line == ear::HEARD).count();
        }
        self.check(heard == 0, "not even their ARP broadcasts arrive at desk");
        Ok(())
    }

    /// Listens at desk for frames from an address.
    fn listen(&self, sender: &str, log: &str) -> Result<Process> {
        let mut ear = self.desk.command(std::env::current_exe()?);
        let ear = self.lab.spawn(ear.args(["hear", "desk0", sender]), log)?;
        wait_until("listening at desk", COMMAND_LIMIT, || {
            Ok(ear.output()?.contains(ear::LISTENING))
        })?;
        Ok(ear)
    }

    pub(crate) fn tag_does_not_help(&mut self) -> Result<()> {
        say::heading("dev1 tags its own frames for VLAN 10: an access port takes no tags");
        let before = self.north.rx_drops("dev1", "tagged-on-access")?;
        let hop = format!(
            "modprobe 8021q && ip link add link eth0 name hop type vlan id 10 && \
             ip address add 10.10.0.99/24 dev hop && ip link set hop up; \
             ping -c 2 -i 0.2 -W 1 -I hop {WEB1_ADDRESS}"
        );
        let outcome = self.dev1.run(&hop, COMMAND_LIMIT)?;
        self.check(!outcome.success, "the tagged frames reach nobody");
        let dropped = self.north.rx_drops("dev1", "tagged-on-access")? - before;
        self.check(dropped > 0, &format!("the switch counted them: {dropped} × tagged-on-access"));
        self.north.show(&["drops"])?;
        // QEMU's e1000 takes nothing in for a second after its driver has changed a filter.
        self.dev1.run("ip link del hop && sleep 1", COMMAND_LIMIT)?;
        Ok(())
    }

    pub(crate) fn moves_live(&mut self) -> Result<()> {
        say::heading("dev1 is moved to VLAN 10, live");
        let untouched = [self.ping_on("web1", WEB1_ADDRESS)?, self.ping_on("web2", WEB2_ADDRESS)?];
        // What the guest remembers of its failures would delay it, not the switch.
        self.dev1.run("ip neigh flush dev eth0", COMMAND_LIMIT)?;
        let begin = say::now();
        self.north.show(&["port", "set", "dev1", "--access", "office"])?;
        let reached = wait_until("dev1 reaching desk", COMMAND_LIMIT, || {
            Ok(self.dev1.run(&format!("ping -c 1 -W 1 {DESK_ADDRESS}"), COMMAND_LIMIT)?.success)
        });
        let length = say::duration(begin.elapsed());
        self.check(
            reached.is_ok(),
            &format!("dev1 reaches desk, {length} after the command was typed"),
        );
        for (name, address) in [("web1", WEB1_ADDRESS), ("web2, through the tunnel", WEB2_ADDRESS)]
        {
            let outcome =
                self.dev1.run(&format!("ping -c 2 -i 0.2 -W 2 {address}"), COMMAND_LIMIT)?;
            self.check(outcome.success, &format!("dev1 reaches {name}"));
        }
        self.check_untouched(&untouched);
        let file = fs::read_to_string(self.north.config())?;
        let section: Vec<_> =
            file.lines().skip_while(|line| !line.contains("[port.dev1]")).take(4).collect();
        say::note("the file has it, too, comments kept:");
        say::quote(&section.join("\n"));
        let kept = file.contains("# An emulated card")
            && section.iter().any(|line| line.contains("office"));
        self.check(kept, "the configuration file was rewritten in place");
        Ok(())
    }

    pub(crate) fn other_host_moves_live(&mut self) -> Result<()> {
        say::heading("till is moved to the office of south, live: to what north calls VLAN 10");
        let untouched = [self.ping_on("web1", WEB1_ADDRESS)?, self.ping_on("web2", WEB2_ADDRESS)?];
        self.till.ip("neigh flush dev till0")?;
        let begin = say::now();
        self.south.show(&["port", "set", "till", "--access", "office"])?;
        let reached =
            wait_until("till reaching desk", COMMAND_LIMIT, || pings(&self.till, DESK_ADDRESS));
        let length = say::duration(begin.elapsed());
        let what = format!("three pings of till to desk are answered {length} after the command");
        self.check(reached.is_ok(), &what);
        self.check_untouched(&untouched);
        Ok(())
    }

    /// Has desk ping somebody in the background while something else is changed.
    fn ping_on(&self, name: &'static str, address: &str) -> Result<(&'static str, Process)> {
        let mut ping = self.desk.command("ping");
        ping.args(["-i", "0.02", "-c", "150", "-W", "2", "-q", address]);
        Ok((name, self.lab.spawn(&ping, &format!("ping-{name}.log"))?))
    }

    fn check_untouched(&mut self, pings: &[(&str, Process)]) {
        for (name, ping) in pings {
            let pinged = self.lab.finish(ping, COMMAND_LIMIT);
            let pinged = pinged.unwrap_or_else(|error| format!("{error:#}"));
            self.check(
                pinged.contains(" 0% packet loss"),
                &format!("150 pings between desk and {name} meanwhile: none lost"),
            );
        }
    }
}

/// Tells whether three pings are answered.
pub(crate) fn pings(from: &Namespace, address: &str) -> Result<bool> {
    let mut ping = from.command("ping");
    Ok(ping.args(["-c", "3", "-i", "0.2", "-W", "2", "-q", address]).output()?.status.success())
}
