//! `weftctl key`: keys of tunnels, made and read on this machine; weftd hears of none.

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use weft_config::keyfile;
use weft_vpn::{PresharedKey, PrivateKey, Random};
use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    keyfile::{put_new, read},
    output::{Format, Output},
    render::clean,
};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a private key
    #[command(after_help = "\
Examples:
  weftctl key generate --out /etc/weft/vpn.key
  weftctl key generate | ssh berlin 'umask 077; cat > vpn.key'

With --out the public key is printed: the peers need it.")]
    Generate(KeyOut),
    /// Print the public key of a private one
    #[command(after_help = "\
Examples:
  weftctl key public /etc/weft/vpn.key
  weftctl key public < vpn.key")]
    Public(KeyPublic),
    /// Make a preshared key, for both ends of one tunnel
    #[command(after_help = "\
Examples:
  weftctl key psk --out /etc/weft/berlin.psk
  weftctl key psk

The same file goes to both hosts, on a way that nobody else can see.")]
    Psk(KeyOut),
}

/// Where a new key goes.
#[derive(Debug, Args)]
pub(crate) struct KeyOut {
    /// The file, made with mode 0600; one that is there is left alone. Standard output when absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Where a private key is.
#[derive(Debug, Args)]
pub(crate) struct KeyPublic {
    /// The file, or - for standard input
    #[arg(default_value = "-")]
    file: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preshared_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

impl KeyCommand {
    /// Does it.
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Generate(KeyOut { out }) => {
                let key = made(PrivateKey::generate)?;
                let (text, public) = (key.to_base64(), key.public().to_string());
                let told = Told {
                    file: put(out.as_deref(), &text)?,
                    private_key: out.is_none().then_some(text.as_str()),
                    preshared_key: None,
                    public_key: Some(public.clone()),
                };
                let line = if out.is_none() { &text } else { &public };
                show(output, &told, line)
            }
            Self::Psk(KeyOut { out }) => {
                let text = made(PresharedKey::generate)?.to_base64();
                let told = Told {
                    file: put(out.as_deref(), &text)?,
                    private_key: None,
                    preshared_key: out.is_none().then_some(text.as_str()),
                    public_key: None,
                };
                match &out {
                    None => show(output, &told, &text),
                    Some(path) => show(
                        output,
                        &told,
                        &format!("written to {}", clean(&path.to_string_lossy())),
                    ),
                }
            }
            Self::Public(public) => {
                let public_key = public.read()?.public().to_string();
                let told = Told {
                    file: None,
                    private_key: None,
                    preshared_key: None,
                    public_key: Some(public_key.clone()),
                };
                show(output, &told, &public_key)
            }
        }
    }
}

impl KeyPublic {
    fn read(&self) -> Result<PrivateKey, Failure> {
        let name = if self.file == "-" { "standard input" } else { &self.file };
        let bytes = if self.file == "-" {
            let stdin = io::stdin().lock();
            if stdin.is_terminal() {
                return Err(Failure::usage("standard input is a terminal, not a key")
                    .help("`weftctl key public < FILE`, or name the file"));
            }
            read(stdin)
        } else {
            File::open(&self.file).and_then(read)
        };
        let bytes = bytes.map_err(|error| {
            Failure::failed("unreadable", format!("cannot read {}: {error}", clean(name)))
        })?;
        keyfile::private_key(&clean(name), &bytes)
            .map_err(|error| Failure::failed("no-key", error.to_string()).help(error.help()))
    }
}

/// Prints one line for people, without a copy of it that is not wiped, and a document for programs.
fn show(output: Output, told: &Told<'_>, line: &str) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.value(told, |_| String::new()),
        Format::Human => {
            let mut text = Zeroizing::new(String::with_capacity(line.len() + 1));
            text.push_str(line);
            text.push('\n');
            output.text(&text)
        }
    }
}

/// Makes a key from the kernel's randomness.
pub(crate) fn made<K>(make: impl FnOnce(&mut Kernel) -> K) -> Result<K, Failure> {
    let mut random = Kernel { failure: None };
    let key = make(&mut random);
    match random.failure {
        None => Ok(key),
        Some(error) => {
            Err(Failure::failed("io", format!("the kernel gives no random bytes: {error}")))
        }
    }
}

/// The kernel's randomness. What was made is to be thrown away where it failed.
pub(crate) struct Kernel {
    failure: Option<getrandom::Error>,
}

impl Random for Kernel {
    fn fill(&mut self, out: &mut [u8]) {
        if let Err(error) = getrandom::fill(out) {
            self.failure = Some(error);
        }
    }
}

/// Writes a key into a new file, where one is named, and returns the file's name.
fn put(path: Option<&Path>, key: &str) -> Result<Option<String>, Failure> {
    path.map(|path| put_new(path, key)).transpose()
}
