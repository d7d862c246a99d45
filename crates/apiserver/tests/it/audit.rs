//! The auditor sees every request at upstream's stages: refusals, streams and panics too, and who acts as whom.

use std::sync::Arc;

use apiserver::audit::{Audit, Event, Stage};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::harness::{Cluster, pod};

/// Tells what it sees of requests over HTTP; panics where a test wants it to.
struct Teller(mpsc::UnboundedSender<String>);

impl Audit for Teller {
    fn record(&self, event: Event<'_>) {
        if event.path.is_empty() {
            return;
        }
        let name = |who: Option<&client::Identity>| who.map_or("-".to_owned(), |w| w.name.clone());
        let (user, acting) = (name(event.user), name(event.impersonated));
        let code = event.code.map_or("-".to_owned(), |code| code.to_string());
        let text = format!("{:?} {user} {acting} {} {} {code}", event.stage, event.verb, event.path);
        self.0.send(text).unwrap();
        assert!(event.path != "/panics" || event.stage == Stage::Panic, "as the test wants");
    }
}

struct Seen(mpsc::UnboundedReceiver<String>);

impl Seen {
    /// The next events are these.
    async fn next(&mut self, wanted: &[&str]) {
        for want in wanted {
            assert_eq!(self.0.recv().await.as_deref(), Some(*want));
        }
    }
}

async fn start() -> (Cluster, Seen) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let cluster = Cluster::start_with(|config| config.audit = Some(Arc::new(Teller(sender)))).await;
    (cluster, Seen(receiver))
}

const ADMIN: &str = "kubernetes-admin";

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals() {
    let (cluster, mut seen) = start().await;
    for (path, code) in
        [("/api/v1/namespaces/default", 200), ("/api/v1/nothing", 404), ("/api", 200), ("/no", 404)]
    {
        let (answered, ..) = cluster.raw("GET", path, &[], "").await;
        assert_eq!(answered.as_u16(), code);
        let verb = if path == "/api/v1/nothing" { "list" } else { "get" };
        seen.next(&[
            &format!("RequestReceived {ADMIN} - {verb} {path} -"),
            &format!("ResponseComplete {ADMIN} - {verb} {path} {code}"),
        ])
        .await;
    }
    cluster.token("bad.token.x").get("namespaces/-/default").await.unwrap_err();
    seen.next(&["ResponseStarted - - get /api/v1/namespaces/default 401"]).await;
    cluster.user("jane", "people").get("namespaces/-/default").await.unwrap_err();
    seen.next(&[
        "RequestReceived jane - get /api/v1/namespaces/default -",
        "ResponseComplete jane - get /api/v1/namespaces/default 403",
    ])
    .await;
    let path = "/api/v1/namespaces/default";
    let (code, ..) = cluster.raw("GET", path, &[("impersonate-user", "jane")], "").await;
    assert_eq!(code, 403);
    seen.next(&[
        &format!("RequestReceived {ADMIN} - get {path} -"),
        &format!("ResponseComplete {ADMIN} jane get {path} 403"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_is_complete_when_it_ends() {
    let (cluster, mut seen) = start().await;
    let path = "/api/v1/namespaces/default/pods/p/exec";
    let (code, ..) = cluster.raw("POST", path, &[], "").await;
    assert_eq!(code, 404);
    let stages = |verb: &str, path: &str, code: u16| {
        [
            format!("RequestReceived {ADMIN} - {verb} {path} -"),
            format!("ResponseStarted {ADMIN} - {verb} {path} {code}"),
            format!("ResponseComplete {ADMIN} - {verb} {path} {code}"),
        ]
    };
    for stage in stages("create", path, 404) {
        seen.next(&[&stage]).await;
    }
    let path = "/api/v1/namespaces/default/pods";
    let [received, started, complete] = stages("watch", path, 200);
    let mut sender = cluster.connect().await;
    let request = http::Request::get(format!("{path}?watch=1")).header("host", "test");
    let response = sender.send_request(request.body(http_body_util::Full::default()).unwrap()).await.unwrap();
    seen.next(&[&received, &started]).await;
    // Whatever comes first, the watch is not complete before it ends.
    cluster.in_process("a", "system:masters").create("pods/default", pod("q")).await.unwrap_err();
    drop((response, sender));
    seen.next(&[&complete]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_answered_and_told() {
    let (cluster, mut seen) = start().await;
    let (code, _, body) = cluster.raw("GET", "/panics", &[], "").await;
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code.as_u16(), &status["kind"], &status["code"]), (500, &json!("Status"), &json!(500)));
    assert_eq!(status["message"], "This request caused apiserver to panic. Look in the logs for details.");
    seen.next(&[
        &format!("RequestReceived {ADMIN} - get /panics -"),
        &format!("Panic {ADMIN} - get /panics 500"),
    ])
    .await;
    let (code, ..) = cluster.raw("GET", "/api/v1/namespaces/default", &[], "").await;
    assert_eq!(code, 200, "the server goes on");
}
