//! What the cache takes: never more than a tenth over what it may, whatever sizes come, and however many at once.

use super::{replying, response};
use crate::support::{Backend, Gate, get};

const MEMORY: u64 = 4 << 20;

fn gate(backend: &Backend) -> Gate {
    let address = backend.address();
    Gate::start(&format!(
        "[cache]\nmemory = \"4MiB\"\nmax_object = \"256KiB\"\n\
         [[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"http://{address}\"\ncache = true\n"
    ))
}

#[tokio::test]
async fn what_is_kept_and_what_is_coming_stay_within_their_bounds() {
    let backend = replying(|seen, _| {
        let size: usize = seen.head.target().split('/').nth(1).unwrap().parse().unwrap();
        response("cache-control: max-age=60\r\nx-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", &"x".repeat(size))
    });
    let backend = backend.await;
    let gate = gate(&backend);
    for round in 0..4 {
        let crowd: Vec<_> = (0..100)
            .map(|number| {
                let size = [0, 10, 1000, 60_000, 250_000, 262_144, 400_000][(number + round) % 7];
                let address = gate.address();
                tokio::spawn(async move {
                    let answer = get(address, &format!("/{size}/{round}/{number}")).await;
                    assert_eq!(answer.content.bytes.len(), size);
                })
            })
            .collect();
        for one in crowd {
            one.await.unwrap();
            let page = get(gate.admin(), "/api/v1/status").await.text();
            let state: serde_json::Value = serde_json::from_str(&page).unwrap();
            let bytes = state["cache"]["bytes"].as_u64().unwrap() + state["cache"]["filling_bytes"].as_u64().unwrap();
            assert!(bytes <= MEMORY + MEMORY / 10, "{state}");
        }
    }
    // One after the other, so that there is room for each while it comes.
    for number in 0..40 {
        assert_eq!(get(gate.address(), &format!("/250000/last/{number}")).await.content.bytes.len(), 250_000);
    }
    let page = gate.metrics().await;
    let value = |name: &str| -> f64 {
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("{name}\n{page}"))
    };
    assert!(value("tollgate_cache_bytes ") > 1e6 && value("tollgate_cache_evictions_total ") > 0.0);
}
