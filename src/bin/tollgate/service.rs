//! What a service manager is told (sd_notify(3), systemd.service(5)): that the gateway is ready, reloads, stops, and
//! still lives. Without one, nobody is told anything.

use std::time::Duration;

use sd_notify::NotifyState;
use tollgate::app::Running;

/// The gateway serves, or serves again as configured.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload has begun; [`ready`] says that it is over. `Type=notify-reload` wants to know when that was.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager was not told of the reload"),
    }
}

/// The gateway goes down.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Gives a sign of life as often as the manager wants one, for as long as every thread does; for ever without a
/// manager that wants one.
pub(crate) async fn live(running: &Running) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let pause = limit / 4;
    loop {
        if running.is_alive(limit / 2).await {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a thread does not get to its work any more");
        }
        tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
