//! Large receive offload: hardware that merges TCP segments into frames which nobody can cut again as they
//! were. Off while a device is a port. ethtool(8), `-K DEV lro`.

use std::io;

use rustix::io::Errno;
use weft_ports::link::{Links, Lro};

use super::{Refusal, Trouble};

/// Tells whether a device merges; most cannot.
pub(super) async fn is_on(device: &str) -> Result<bool, Refusal> {
    let lro = ask(device, Links::lro).await;
    match lro {
        Ok(lro) => Ok(lro == Lro::On),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(refused(device, "ask for its receive offload", &error)),
    }
}

/// Makes a device merge, or not.
pub(super) async fn set(device: &str, wanted: Lro) -> Result<(), Refusal> {
    let step = match wanted {
        Lro::On => "switch its large receive offload back on",
        Lro::Off => "switch its large receive offload off",
    };
    let done = ask(device, move |links, device| links.set_lro(device, wanted)).await;
    done.map(drop).map_err(|error| refused(device, step, &error))
}

pub(super) fn refused(device: &str, step: &str, error: &io::Error) -> Refusal {
    if Errno::from_io_error(error) == Some(Errno::NODEV) {
        return Refusal::Missing(device.into());
    }
    Refusal::Io(Trouble::new(device, step, error))
}

/// Asks a driver, which may take its time, where that may block.
pub(super) async fn ask<T: Send + 'static>(
    device: &str,
    question: impl FnOnce(&Links, &str) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let device = device.to_owned();
    let answer = tokio::task::spawn_blocking(move || question(&Links::open()?, &device));
    answer.await.map_err(io::Error::other)?
}
