//! `weftctl trace`: what the switch would do with a frame, step by step, without sending one.

use clap::Args;
use weft_config::api::{Trace as Traced, TraceEgress, TraceRequest, Verdict, Vlan};
use weft_vlan::MacAddr;

use crate::{
    client::{Client, Request},
    failure::Failure,
    output::{Output, Paint},
    render::{Grid, clean, word},
};

/// Bytes of a frame at most, as the switch takes them.
const FRAME_LIMIT: usize = 65_535 + 14 + 8;

/// A frame, by its bytes or by what it says.
#[derive(Debug, Args)]
#[command(
    override_usage = "weftctl trace --port PORT --frame HEX\n       \
        weftctl trace --port PORT --src MAC --dst MAC [--tag VLAN [--pcp N]] [--ethertype TYPE] [--length BYTES]",
    after_help = "\
Examples:
  weftctl trace --port web1 --src 52:54:00:12:34:56 --dst ff:ff:ff:ff:ff:ff
  weftctl trace --port host --src 52:54:00:00:00:02 --dst 52:54:00:12:34:56 --tag 20
  weftctl trace --port web1 --frame ffffffffffff5254001234568100000a0806

Nothing is sent, learned or counted."
)]
pub(crate) struct Trace {
    /// The port where the frame arrives
    #[arg(long, value_name = "PORT")]
    port: String,
    /// The whole frame in hexadecimal, as on the wire; spaces and colons may stand between
    #[arg(long, value_name = "HEX", value_parser = parse_frame, required_unless_present_all = ["src", "dst"],
        conflicts_with_all = ["src", "dst", "tag", "pcp", "ethertype", "length"])]
    frame: Option<String>,
    /// Its source address
    #[arg(long, value_name = "MAC", requires = "dst")]
    src: Option<MacAddr>,
    /// Its destination address
    #[arg(long, value_name = "MAC", requires = "src")]
    dst: Option<MacAddr>,
    /// The VLAN of its 802.1Q tag: 0 to 4095, or a VLAN's name
    #[arg(long, value_name = "VLAN")]
    tag: Option<String>,
    /// The priority code point of that tag
    #[arg(long, value_name = "0-7", requires = "tag", value_parser = clap::value_parser!(u8).range(0..=7))]
    pcp: Option<u8>,
    /// The EtherType of what it carries, as in 0x0806; IPv4 when absent
    #[arg(long, value_name = "TYPE", value_parser = parse_ethertype)]
    ethertype: Option<u16>,
    /// Its length in bytes without tags; 60 when absent
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..=FRAME_LIMIT as i64))]
    length: Option<u32>,
}

impl Trace {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let tag = self.tag.as_deref().map(|tag| vid(client, tag)).transpose()?;
        let request = TraceRequest {
            port: self.port,
            frame: self.frame,
            source: self.src.map(|mac| mac.to_string()),
            destination: self.dst.map(|mac| mac.to_string()),
            tag,
            pcp: self.pcp,
            ethertype: self.ethertype,
            length: self.length,
        };
        let answer = client.send::<Traced>(Request::ask("/v1/trace").body(&request))?;
        let paint = output.paint();
        output.show(&answer, |traced| tell(traced, &request.port, paint))
    }
}

/// Returns the VID of a tag; a name is looked up, for on the wire there are only numbers.
fn vid(client: &Client, tag: &str) -> Result<u16, Failure> {
    if tag.bytes().all(|byte| byte.is_ascii_digit()) {
        let vid = tag.parse().ok().filter(|&vid: &u16| vid <= 4095);
        return vid.ok_or_else(|| {
            Failure::usage(format!("--tag {tag}: a tag holds a VID from 0 to 4095"))
        });
    }
    let vlans: Vec<Vlan> = client.send::<Vec<Vlan>>(Request::get("/v1/vlans"))?.value()?;
    let named = vlans.iter().find(|vlan| vlan.name.as_deref() == Some(tag));
    named.map(|vlan| vlan.vlan).ok_or_else(|| {
        Failure::failed("not-found", format!("there is no VLAN `{tag}`"))
            .help("`weftctl vlan list` shows the names")
    })
}

fn tell(traced: &Traced, port: &str, paint: Paint) -> String {
    let mut grid = Grid::new(["STAGE", "WHAT HAPPENS"]);
    // The last line says the verdict in full.
    for step in traced.steps.iter().filter(|step| step.stage != "verdict") {
        grid.row(vec![word(&step.stage), word(&step.text)]);
    }
    format!("{}\n{}\n", grid.finish(paint), verdict(traced, port, paint))
}

fn verdict(traced: &Traced, port: &str, paint: Paint) -> String {
    let vlan = traced.vlan.map_or_else(String::new, |vlan| format!(" in VLAN {vlan}"));
    let exits = traced.egress.iter().map(exit).collect::<Vec<_>>().join(", ");
    match traced.verdict {
        Verdict::Drop => {
            let reason = traced.reason.as_deref().unwrap_or("no reason given");
            format!("{} at port {}{vlan}: {}", paint.bad("dropped"), clean(port), clean(reason))
        }
        Verdict::Forward => format!("{}{vlan} to {exits}", paint.good("forwarded")),
        Verdict::Flood if traced.egress.is_empty() => {
            format!("{}{vlan}, but no port takes it", paint.notice("flooded"))
        }
        Verdict::Flood => format!("{}{vlan} to {exits}", paint.notice("flooded")),
    }
}

fn exit(egress: &TraceEgress) -> String {
    let port = clean(&egress.port);
    match (egress.tagged, egress.vid) {
        (false, _) => format!("{port} (untagged)"),
        (true, Some(vid)) => format!("{port} (tagged {vid})"),
        (true, None) => format!("{port} (tagged)"),
    }
}

fn parse_frame(text: &str) -> Result<String, String> {
    let digits: String =
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, ':' | '-')).collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    if let Some(wrong) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(format!("{wrong:?} is no hexadecimal digit"));
    }
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return Err(format!("{} digits: a byte has two", digits.len()));
    }
    if digits.len() / 2 > FRAME_LIMIT {
        return Err(format!("{} bytes: a frame has {FRAME_LIMIT} at most", digits.len() / 2));
    }
    Ok(digits.to_ascii_lowercase())
}

fn parse_ethertype(text: &str) -> Result<u16, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u16::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    };
    number.ok_or_else(|| "an EtherType has sixteen bits, as in 0x0800 or 2048".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_as_dumps_print_them() {
        for text in ["ffff 5254", "ff:ff:52:54", "0xffff5254", "FFFF\n5254"] {
            assert_eq!(parse_frame(text).as_deref(), Ok("ffff5254"), "{text:?}");
        }
        for text in ["", "f", "fff", "xx", "ff,ff"] {
            assert!(parse_frame(text).is_err(), "{text:?}");
        }
        assert!(parse_frame(&"00".repeat(FRAME_LIMIT)).is_ok());
        assert!(parse_frame(&"00".repeat(FRAME_LIMIT + 1)).is_err());
    }

    #[test]
    fn ethertypes_are_sixteen_bits() {
        assert_eq!(parse_ethertype("0x0806"), Ok(0x806));
        assert_eq!(parse_ethertype("2048"), Ok(0x800));
        for text in ["", "0x", "0x+1", "70000", "0x10000", "arp"] {
            assert!(parse_ethertype(text).is_err(), "{text:?}");
        }
    }
}
