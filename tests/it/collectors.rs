//! Collectors of traces over TLS: told only where somebody trusted vouches for them, by the name that was asked.

use crate::support::authority::Authority;
use crate::support::collector::TAKEN;
use crate::support::process::Process;
use crate::support::scrape::scrape;
use crate::support::{Backend, OK, eventually_async, get};

/// What is said of a collector that nobody vouches for.
const DOUBT: &str = "no trusted TLS connection: invalid peer certificate";

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_only_where_somebody_trusted_vouches_for_it() {
    let backend = Backend::answering(OK).await;
    let (trusted, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("ca.pem");
    trusted.write(&authorities);
    let (right, _right) = trusted.server("127.0.0.1", TAKEN.to_vec()).await;
    let (misnamed, _misnamed) = trusted.server("collector.example.com", TAKEN.to_vec()).await;
    let (stranger, _stranger) = other.server("127.0.0.1", TAKEN.to_vec()).await;
    for (address, says) in [(right, None), (misnamed, Some(DOUBT)), (stranger, Some(DOUBT))] {
        let text = format!(
            "server.listen = ['127.0.0.1:0']\nadmin.listen = '127.0.0.1:0'\n\
             [tracing]\notlp = 'https://{address}'\nsample = 1\n\
             [[routes]]\nprefix = '/'\nupstream = 'http://{}'\n",
            backend.address()
        );
        let (process, gate, admin) = Process::serve_trusting(&text, &authorities).await;
        assert_eq!(get(gate, "/").await.status(), 200);
        let exported = async || scrape(admin).await.value("tollgate_trace_spans_total", &[("result", "exported")]);
        match says {
            None => eventually_async("its spans are taken", async || exported().await >= Some(2.0)).await,
            Some(doubt) => {
                process.says(doubt).await;
                assert_eq!(exported().await, Some(0.0), "{address}");
            }
        }
    }
}
