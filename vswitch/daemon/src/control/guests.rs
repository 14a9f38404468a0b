//! Guests that come by a socket: their VMM has connected, and the port becomes what its type says. A front-end of
//! vhost-user is talked to on a thread of its own, so that one which is slow or hostile keeps nobody else.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, Builder},
};

use weft_config::PortType;
use weft_ports::{
    OpenError, Opened, peer, stream,
    vhost::{self, Attached, Ended, Line, News, Session},
};

use super::{
    allowance::Allowance,
    lines::Lines,
    sockets::{Connected, SocketTask},
    state::{Control, Link, Port},
    vms::vm_of,
};
use crate::clock;

/// Why a connection was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("no thread for it: {0}")]
    Thread(#[from] io::Error),
}

impl Control {
    pub(super) async fn socket_connected(&mut self, connected: Connected) {
        let Connected { port: name, incarnation, stream, lines, messages } = connected;
        let Some(port) = self.ports.get(&name) else { return };
        // It may have been on its way while the port was removed and added again, perhaps with another socket.
        let is_its_own = port.socket.as_ref().is_some_and(|task| task.incarnation() == incarnation);
        if !is_its_own || matches!(port.link, Link::Open(_)) || !port.config.enabled {
            return;
        }
        let id = port.id;
        let pid = peer::credentials(&stream).ok().and_then(|peer| u32::try_from(peer.pid).ok());
        let taken = match port.config.kind {
            PortType::VhostUser { queues, .. } => vhost::attach(stream, queues.into())
                .map_err(NotTaken::from)
                .and_then(|attached| Ok(converse(&name, attached, lines.clone(), messages)?)),
            _ => stream::attach(stream).map(|opened| (opened, None)).map_err(NotTaken::from),
        };
        match taken {
            Ok((opened, line)) => {
                self.attach(&name, id, opened, None, line);
                if let Some(Port { link: Link::Open(open), .. }) = self.ports.get_mut(&name) {
                    open.vm = pid.filter(|pid| *pid > 0).and_then(vm_of);
                }
                self.put_in_force();
            }
            Err(error) => {
                lines.write(|left_out| {
                    tracing::warn!(port = name, %error, left_out, "connection not taken");
                });
                let port = self.ports.get_mut(&name);
                if let Some(task) = port.and_then(|port| port.socket.as_mut()) {
                    SocketTask::disconnected(task);
                }
            }
        }
    }
}

/// Begins to talk to a front-end.
fn converse(
    port: &str,
    attached: Attached,
    lines: Arc<Lines>,
    messages: Arc<Mutex<Allowance>>,
) -> io::Result<(Opened, Option<Line>)> {
    let Attached { opened, session, line } = attached;
    let name = port.to_owned();
    let serve = move || serve(&name, session, &lines, &messages);
    Builder::new().name(format!("vhost-{port}")).spawn(serve)?;
    Ok((opened, Some(line)))
}

/// Talks to a front-end until one of both hangs up.
fn serve(port: &str, session: Session, lines: &Lines, messages: &Mutex<Allowance>) {
    let ended = session.run(|news| match news {
        News::Message => wait_for(messages),
        News::Refused(reason) => lines.write(|left_out| {
            tracing::warn!(port, %reason, left_out, "refused to a guest's VMM");
        }),
        News::Broken { ring, reason } => lines.write(|left_out| {
            tracing::warn!(port, ring, %reason, left_out, "a guest's ring stands still until its driver begins anew");
        }),
    });
    match ended {
        Ended::Closed => tracing::debug!(port, "the guest's VMM has hung up"),
        reason => lines.write(|left_out| {
            tracing::warn!(port, %reason, left_out, "hung up on a guest's VMM");
        }),
    }
}

/// Waits until one more message may be answered.
fn wait_for(messages: &Mutex<Allowance>) {
    loop {
        let mut allowance = messages.lock().unwrap_or_else(PoisonError::into_inner);
        if allowance.take(clock::now()) {
            return;
        }
        let interval = allowance.interval();
        drop(allowance);
        thread::sleep(interval);
    }
}
