//! Another configuration while it serves: what was used up stays used up.

use super::passing;
use crate::support::{Backend, Gate, OK};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_refills_nothing() {
    let backend = Backend::answering(OK).await;
    let text = |limit: &str, more: &str| {
        format!(
            "[[routes]]\nprefix = \"/\"\nupstream = \"http://{}\"\nrate_limit = \"kept\"\n{more}\n[rate_limits.kept]\n{limit}\n",
            backend.address()
        )
    };
    let gate = Gate::start(&text("rate = \"10/h\"", ""));
    assert_eq!(passing(&gate, 4, "").await, 4);
    for round in 0..5 {
        assert!(gate.reload(&text("rate = \"10/h\"", &format!("timeout = \"{}s\"", round + 10))).await.is_ok());
    }
    assert_eq!(passing(&gate, 2, "").await, 2);
    // Twice as many: six are used up, fourteen are left.
    assert!(gate.reload(&text("rate = \"20/h\"", "")).await.is_ok());
    assert_eq!(passing(&gate, 10, "").await, 10);
    // Fewer: all of them are used up.
    assert!(gate.reload(&text("rate = \"5/h\"", "")).await.is_ok());
    assert_eq!(passing(&gate, 3, "").await, 0);
    // By name: another name knows of nothing.
    let other = text("rate = \"5/h\"", "").replace("kept", "other");
    assert!(gate.reload(&other).await.is_ok());
    assert_eq!(passing(&gate, 9, "").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_may_come_and_go_and_look_only() {
    let backend = Backend::answering(OK).await;
    let route = format!("[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"http://{}\"\n", backend.address());
    let gate = Gate::start(&route);
    assert_eq!(passing(&gate, 5, "").await, 5);
    let limited =
        |mode: &str| format!("{route}rate_limit = \"a\"\n[rate_limits.a]\nrate = \"2/h\"\nmode = \"{mode}\"\n");
    let verdict = gate.reload(&limited("observe")).await;
    let told = serde_json::to_value(&*verdict).unwrap();
    assert!(told.to_string().contains(r#""rate_limits":{"added":["a"]}"#), "{told}");
    assert_eq!(passing(&gate, 5, "").await, 5);
    gate.reload(&limited("enforce")).await;
    assert_eq!(passing(&gate, 5, "").await, 0, "they were counted while it only looked");
    gate.counted("tollgate_rate_limit_decisions_total{limit=\"a\",decision=\"refused\",mode=\"observe\"} 3").await;
    gate.counted("tollgate_rate_limit_decisions_total{limit=\"a\",decision=\"refused\",mode=\"enforce\"} 5").await;
    gate.reload(&route).await;
    assert_eq!(passing(&gate, 5, "").await, 5);
}
