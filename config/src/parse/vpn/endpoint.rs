//! Where a host listens and where a peer is: addresses and names with UDP ports.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::super::{report::Report, table::Field};
use crate::{
    limits::{HOST_MAX, LABEL_MAX},
    model::Endpoint,
    names::quoted,
};

/// Reads `listen`; `port` is the one in examples.
pub(in crate::parse) fn listen(
    field: &Field<'_, '_>,
    port: u16,
    report: &mut Report,
) -> Option<SocketAddr> {
    let text = field.text("an address and a port", report)?;
    let parsed = text.parse::<SocketAddr>();
    let (wrong, help) = match parsed {
        Ok(address) if address.port() == 0 => (
            "has no port".to_owned(),
            format!("for example \"{}:{port}\"", bracketed(address.ip())),
        ),
        Ok(address) if address.ip().is_multicast() => {
            ("is a group's address".to_owned(), all_addresses(port))
        }
        Ok(address) => return Some(address),
        Err(_) => match (text.parse::<IpAddr>(), text.trim_start_matches(':').parse::<u16>()) {
            (Ok(address), _) => {
                ("has no port".to_owned(), format!("write \"{}:{port}\"", bracketed(address)))
            }
            (_, Ok(port)) if port != 0 => {
                ("has no address".to_owned(), format!("for every address, write \"[::]:{port}\""))
            }
            _ => ("is no address with a port".to_owned(), all_addresses(port)),
        },
    };
    report
        .add(field.span(), format!("{}: `listen` {} {wrong}", field.place, quoted(text)))
        .note("not an address with a port")
        .help(help);
    None
}

fn all_addresses(port: u16) -> String {
    format!("for every address \"[::]:{port}\", for those of IPv4 \"0.0.0.0:{port}\"")
}

/// Reads `endpoint`; `port` is the one in examples.
pub(in crate::parse) fn endpoint(
    field: &Field<'_, '_>,
    port: u16,
    report: &mut Report,
) -> Option<Endpoint> {
    let text = field.text("an address or a name, and a port", report)?;
    match parsed(text, port) {
        Ok(endpoint) => Some(endpoint),
        Err(Wrong { what, help }) => {
            report
                .add(field.span(), format!("{}: `endpoint` {} {what}", field.place, quoted(text)))
                .note("not a host with a port")
                .help(help);
            None
        }
    }
}

/// What is wrong with an endpoint, as the end of a sentence, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    what: String,
    help: String,
}

fn wrong(what: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { what: what.into(), help: help.into() }
}

fn parsed(text: &str, example: u16) -> Result<Endpoint, Wrong> {
    let examples = || {
        format!(
            "for example \"berlin.example.net:{example}\", \"192.0.2.1:{example}\" or \"[2001:db8::1]:{example}\""
        )
    };
    if let Ok(address) = text.parse::<SocketAddr>() {
        return reachable(address).map(Endpoint::Address);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Err(wrong("has no port", format!("write \"{}:{example}\"", bracketed(address))));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let help = match host_mistake(text) {
            None => format!("write \"{text}:{example}\""),
            Some(_) => examples(),
        };
        return Err(wrong("has no port", help));
    };
    let port = match port.parse::<u16>() {
        Ok(port) if port != 0 && !text.ends_with(&format!("+{port}")) => port,
        _ => {
            return Err(wrong(
                format!("has the port {}", quoted(port)),
                "a port is a number from 1 to 65535",
            ));
        }
    };
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Err(wrong("has no brackets", format!("write \"[{address}]:{port}\"")));
    }
    match host_mistake(host) {
        None => Ok(Endpoint::Name { host: host.to_ascii_lowercase(), port }),
        Some(mistake) => Err(wrong(mistake, examples())),
    }
}

/// Refuses addresses that no host has.
fn reachable(address: SocketAddr) -> Result<SocketAddr, Wrong> {
    const HELP: &str = "write the peer's own address, or take the line out to wait for it";
    let canonical = address.ip().to_canonical();
    if address.port() == 0 {
        return Err(wrong("has the port \"0\"", "a port is a number from 1 to 65535"));
    }
    if canonical.is_unspecified() {
        return Err(wrong("is the address of no host", HELP));
    }
    if canonical.is_multicast() || matches!(canonical, IpAddr::V4(ip) if ip.is_broadcast()) {
        return Err(wrong("is the address of many hosts", HELP));
    }
    Ok(address)
}

/// Says what is wrong with a name, as the end of a sentence.
fn host_mistake(host: &str) -> Option<String> {
    let bare = host.strip_suffix('.').unwrap_or(host);
    if bare.is_empty() {
        return Some("has no host".to_owned());
    }
    if bare.len() > HOST_MAX {
        return Some(format!("has a name of {} characters; {HOST_MAX} are allowed", bare.len()));
    }
    if let Some(wrong) =
        bare.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
    {
        return Some(format!("has {wrong:?} in its name"));
    }
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !bare.split('.').all(is_label) {
        return Some("has no host's name".to_owned());
    }
    // What ends in a number is an address to every resolver.
    let last = bare.rsplit('.').next().unwrap_or(bare);
    last.bytes().all(|byte| byte.is_ascii_digit()).then(|| "has an address that is none".to_owned())
}

/// Writes an address as it stands before a port.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_or_names_with_ports() {
        let long = format!("{}.example:1", "a".repeat(63));
        for (text, expected) in [
            ("192.0.2.1:51900", "192.0.2.1:51900"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
            ("[2001:DB8:0::1]:1", "[2001:db8::1]:1"),
            ("berlin.example.net:65535", "berlin.example.net:65535"),
            ("Berlin:51900", "berlin:51900"),
            ("a-b_c.1x.example.:7", "a-b_c.1x.example.:7"),
            (&long, &long),
        ] {
            assert_eq!(parsed(text, 51_900).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_says_what_to_write() {
        let long = format!("{}:1", "a.".repeat(130));
        for (text, what, help) in [
            ("192.0.2.1", "has no port", "write \"192.0.2.1:51900\""),
            ("2001:db8::1", "has no port", "write \"[2001:db8::1]:51900\""),
            (
                "2001:db8:1:2:3:4:5:6:51900",
                "has no brackets",
                "write \"[2001:db8:1:2:3:4:5:6]:51900\"",
            ),
            ("berlin.example.net", "has no port", "write \"berlin.example.net:51900\""),
            ("", "has no port", "for example"),
            (":51900", "has no host", "for example"),
            ("berlin:", "has the port \"\"", "a port is a number"),
            ("berlin:0", "has the port \"0\"", "a port is a number"),
            ("berlin:+5", "has the port \"+5\"", "a port is a number"),
            ("berlin:65536", "has the port \"65536\"", "a port is a number"),
            ("192.0.2.1:0", "has the port \"0\"", "a port is a number"),
            ("192.0.2:51900", "has an address that is none", "for example"),
            ("1.2.3.4.5:51900", "has an address that is none", "for example"),
            ("user@berlin:51900", "has '@' in its name", "for example"),
            ("bärlin:51900", "has 'ä' in its name", "for example"),
            ("a..b:51900", "has no host's name", "for example"),
            ("-a:51900", "has no host's name", "for example"),
            (&long, "has a name of 259 characters; 253 are allowed", "for example"),
            ("0.0.0.0:51900", "is the address of no host", "write the peer's own"),
            ("[::]:51900", "is the address of no host", "write the peer's own"),
            ("[::ffff:0.0.0.0]:51900", "is the address of no host", "write the peer's own"),
            ("224.0.0.1:51900", "is the address of many hosts", "write the peer's own"),
            ("[ff02::1]:51900", "is the address of many hosts", "write the peer's own"),
            ("255.255.255.255:1", "is the address of many hosts", "write the peer's own"),
        ] {
            let Wrong { what: said, help: helped } = parsed(text, 51_900).unwrap_err();
            assert_eq!(said, what, "{text}");
            assert!(helped.starts_with(help), "{text}: {helped}");
        }
    }
}
