//! A real gateway on ports of its own, started from the text that a user would write.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tollgate::app::{Extras, Gateway, Running};
use tollgate::config::load::{self, Input};
use tollgate::config::{AccessTarget, AdminConfig, Config, ServerConfig};
use tollgate::reload::source::Source;
use tollgate::reload::watch::Pace;
use tollgate::runtime::reloads::Verdict;

use super::{Backend, eventually_some, get};

/// A running gateway; it ends with the value.
pub(crate) struct Gate(Option<Running>);

impl Gate {
    /// Starts a gateway. What the text does not say is chosen for tests: any free port, no access log.
    pub(crate) fn start(text: &str) -> Self {
        Self(Some(Gateway::start(&config(text)).unwrap()))
    }

    /// Starts a gateway from a file, which it then watches at this pace.
    pub(crate) fn from_file(file: &Path, watch: Pace) -> Self {
        let source = Source::new(Input { file: file.to_owned(), ..Input::default() });
        let loaded = source.load().unwrap();
        source.names(&loaded.files);
        let extras = Extras { files: Some(Arc::new(source)), watch, ..Extras::default() };
        Self(Some(Gateway::start_with(&loaded.config, extras).unwrap()))
    }

    /// Goes over to another configuration.
    pub(crate) async fn reload(&self, text: &str) -> Arc<Verdict> {
        self.running().reloads().to(config(text)).await.unwrap()
    }

    /// Starts a gateway that sends everything to one backend, through the upstream and the route that `text` goes on to
    /// describe: keys of the route first, then tables of other things.
    pub(crate) fn before(backend: &Backend, text: &str) -> Self {
        let address = backend.address();
        Self::start(&format!(
            "[upstreams.app]\naddresses = [\"{address}\"]\n[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n{text}"
        ))
    }

    /// The same, with keys of the upstream.
    pub(crate) fn before_upstream(backend: &Backend, upstream: &str) -> Self {
        let address = backend.address();
        Self::start(&format!(
            "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [\"{address}\"]\n{upstream}"
        ))
    }

    /// The metrics page.
    pub(crate) async fn metrics(&self) -> String {
        get(self.admin(), "/metrics").await.text()
    }

    /// Waits until the metrics page has this line.
    pub(crate) async fn counted(&self, line: &str) {
        let page = eventually_some(line, async || {
            let page = self.metrics().await;
            page.lines().any(|known| known == line).then_some(page)
        });
        page.await;
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().addresses()[0]
    }

    /// Where its operators look.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.running().admin_address().unwrap()
    }

    /// Lets requests finish, then ends it. Blocks that long.
    pub(crate) fn shutdown(mut self) {
        self.0.take().unwrap().shutdown();
    }

    fn running(&self) -> &Running {
        self.0.as_ref().unwrap()
    }
}

/// What the text means, with what tests choose.
fn config(text: &str) -> Config {
    let mut config = load::from_text(text).unwrap_or_else(|report| panic!("{report}")).config;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    if config.server.listen == ServerConfig::default().listen {
        config.server.listen = vec![any];
    }
    if config.admin.listen == AdminConfig::default().listen {
        config.admin.listen = Some(any);
    }
    if config.log.access == AccessTarget::default() {
        config.log.access = AccessTarget::Off;
    }
    config
}
