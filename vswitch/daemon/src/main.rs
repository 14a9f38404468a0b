//! `weftd`: a userspace switch. Joins the NICs of virtual machines and host interfaces into virtual LANs.

mod api;
mod capture;
mod clock;
mod config_file;
mod control;
mod device;
mod overlay;
mod plane;
mod replace;
mod served;
mod tunnel;
mod uapi;
mod wireguard;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use miette::{Context, Diagnostic, IntoDiagnostic, Report};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, mpsc},
};
use tracing_subscriber::EnvFilter;
use weft_config::Config;

use crate::{
    config_file::ConfigFile,
    control::{Control, Tunnels},
    device::Devices,
    plane::Pool,
};

/// The switch daemon of weft. Stays in the foreground; `weftctl` talks to it.
///
/// It says `weftd: ready` once every configured port is up or has its reason. SIGHUP makes it read the
/// configuration file again, SIGTERM ends it.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The configuration file. One that does not exist counts as empty: a switch "main" without ports.
    #[arg(long, value_name = "FILE", default_value = "/etc/weft/weft.toml")]
    config: PathBuf,
    /// The control socket.
    #[arg(long, value_name = "PATH", env = "WEFT_SOCKET", default_value = "/run/weft/weftd.sock")]
    socket: PathBuf,
    /// Where state is kept that outlives a restart.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weft")]
    state_dir: PathBuf,
    /// Give uplinks that a daemon left behind their addresses back, and end: for `ExecStopPost=`.
    ///
    /// Nothing is done while a weftd uses the state directory.
    #[arg(long)]
    give_back: bool,
    /// Where the sockets are made by which `wg` reaches the WireGuard adapters.
    #[arg(long, value_name = "DIR", default_value = uapi::DIRECTORY)]
    wireguard_dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // boringtun calls it an error when a peer has been silent for long.
    let filter = EnvFilter::try_from_env("WEFT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,boringtun=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            eprintln!("weftd: {report:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Report> {
    raise_descriptor_limit();
    // Two threads: the control plane must answer while one of them waits for the kernel.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("weft-control")
        .enable_all()
        .build()
        .into_diagnostic()?;
    runtime.block_on(async {
        if arguments.give_back { give_back(arguments).await } else { operate(arguments).await }
    })
}

/// Does what a daemon that was killed could not do: the host has its network again.
async fn give_back(arguments: &Arguments) -> Result<(), Report> {
    let _lock = lock_state(&arguments.state_dir)?;
    let devices = open_devices(arguments).await?;
    let troubles = devices.give_back_all(&[]).await;
    for trouble in &troubles {
        tracing::error!(%trouble, "an uplink did not get its addresses back");
    }
    if troubles.is_empty() { Ok(()) } else { Err(miette::miette!("not all is given back")) }
}

async fn open_devices(arguments: &Arguments) -> Result<Devices, Report> {
    let devices = Devices::new(&arguments.state_dir).await.into_diagnostic();
    devices.context("cannot care for devices")
}

async fn operate(arguments: &Arguments) -> Result<(), Report> {
    // From here on a signal waits until the daemon is ready for it, and does not end it half way.
    let signals = Signals::register().into_diagnostic()?;
    let file = ConfigFile::load(&arguments.config).into_diagnostic()?;
    if !file.exists() {
        tracing::warn!(file = %file.path().display(), "there is no configuration file: starting with an empty switch");
    }
    let text = file.text().to_owned();
    let config = Config::parse(&text).map_err(|errors| {
        let errors = errors.with_name(&file.path().display().to_string());
        match errors.source_code() {
            Some(_) => Report::new(errors),
            None => Report::msg(errors.plain()),
        }
    })?;
    let _lock = lock_state(&arguments.state_dir)?;
    let socket = api::bind(&arguments.socket).into_diagnostic()?;
    let devices = open_devices(arguments).await?;
    let links = devices.watch().await.into_diagnostic()?;
    let (ended_sender, ended) = mpsc::unbounded_channel();
    let pool = Pool::start(config.daemon.workers.get(), &ended_sender)
        .into_diagnostic()
        .context("cannot start the workers")?;
    let (connected_sender, connected) = mpsc::channel(16);
    let (tunnels, happened) = Tunnels::begin(&arguments.state_dir, &pool);
    let (uapi, listening) = uapi::Sockets::new(arguments.wireguard_dir.clone());

    let mut control = Control::new(pool, devices, file, connected_sender, tunnels, uapi);
    control.begin(text, config).await;
    let control = Arc::new(Mutex::new(control));
    let told = control::Told { links, ended, connected, happened };
    let tend = tokio::spawn(control::tend(control.clone(), told));
    let serve = tokio::spawn(api::serve(socket, control.clone()));
    let wg = tokio::spawn(uapi::serve(control.clone(), listening));

    println!("weftd: ready");
    // Nobody may be reading.
    let _ = std::io::stdout().flush();
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
    until_told_to_end(signals, &control).await;

    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    serve.abort();
    wg.abort();
    tend.abort();
    control.lock().await.shut_down().await;
    let _ = std::fs::remove_file(&arguments.socket);
    Ok(())
}

/// The signals that the daemon obeys.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Reloads at each SIGHUP; returns at SIGTERM or SIGINT.
async fn until_told_to_end(mut signals: Signals, control: &control::Shared) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => match control.lock().await.reload().await {
                Ok(changes) => tracing::info!(changes = changes.len(), "configuration reloaded"),
                Err(error) => tracing::error!(%error, "configuration not reloaded: the running one stays"),
            },
        }
    }
}

/// Lets the daemon open as many descriptors as the system allows it: a thousand ports need more than the usual limit.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open descriptors");
    }
}

/// Makes the state directory and holds it, so that no second daemon uses it.
fn lock_state(directory: &std::path::Path) -> Result<std::fs::File, Report> {
    let context = || format!("cannot use the state directory {}", directory.display());
    std::fs::create_dir_all(directory).into_diagnostic().with_context(context)?;
    let path = directory.join("lock");
    // One that is there serves on a disk that cannot be written to.
    let lock =
        std::fs::File::create(&path).or_else(|error| std::fs::File::open(&path).map_err(|_| error));
    let lock = lock.into_diagnostic().with_context(context)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(miette::miette!(
            help = "give this one another --state-dir",
            "another weftd uses {}",
            directory.display()
        )),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).into_diagnostic().with_context(context)
        }
    }
}
