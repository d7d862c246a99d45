//! What a decision about rights costs does not depend on how many bindings there are. Counted in allocations of all threads, so
//! this program has one test; what it prints is how long a request takes beside few and many bindings.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;
use std::time::Instant;

use apiserver::{Config, Pki, Server};
use client::{Call, Gvr, Identity, Objects, Options, Target, Verb};
use futures_util::future::join_all;
use serde_json::json;
use store::{Expect, Op, SqliteStore, Store, Write};

#[global_allocator]
static ALLOCATOR: counting::Allocator = counting::Allocator;

const TIMES: u32 = 1000;
const GROUP: &str = "rbac.authorization.k8s.io";

struct World {
    jane: Arc<dyn Objects>,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn with(bindings: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, options) = (dir.path().join("db"), store::Options::default());
        let store: Arc<dyn Store> = SqliteStore::open(&path, options, apiserver::read_facts()).unwrap();
        let pki = Pki::open(&dir.path().join("pki"), &[], &[]).unwrap();
        let server = Server::new(Config::new(store.clone(), pki));
        server.bootstrap().await.unwrap();
        let identity = Identity { name: "jane".into(), groups: vec!["team7".into()], ..Identity::default() };
        let world = Self { jane: server.objects(identity, "test"), store, _dir: dir };
        let numbers: Vec<usize> = (0..bindings).collect();
        for chunk in numbers.chunks(1000) {
            join_all(chunk.iter().map(|n| world.bind(format!("default/b{n}"), format!("team{n}")))).await;
        }
        world
    }

    async fn bind(&self, place: String, group: String) {
        let (namespace, name) = place.split_once('/').unwrap();
        let rest = json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group}]})
        .to_string();
        let json =
            format!("{{\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"{namespace}\"}},{}", &rest[1..]);
        let key = format!("rolebindings.{GROUP}/{place}").into();
        self.store.commit(Write { key, expect: Expect::Absent, op: Op::Put(json.into()) }).await.unwrap();
    }

    /// Asks for what is not there: allowed it is 404, refused 403.
    async fn ask(&self, resource: &str, code: i32) {
        let gvr = Gvr::new("", "v1", resource);
        let target =
            Target { gvr, namespace: "default".into(), name: "x".into(), subresource: String::new() };
        let call = Call { target, verb: Verb::Get, options: Options::default() };
        assert_eq!(i32::from(self.jane.call(call).await.unwrap_err().code), code);
    }

    /// Allocations of an allowed and of a refused request, and nanoseconds of each.
    async fn costs(&self) -> [(u64, u128); 2] {
        let mut costs = [(0, 0); 2];
        for (cost, (resource, code)) in costs.iter_mut().zip([("configmaps", 404), ("secrets", 403)]) {
            self.ask(resource, code).await;
            let (start, began) = (counting::everywhere(), Instant::now());
            for _ in 0..TIMES {
                self.ask(resource, code).await;
            }
            let spent = counting::everywhere() - start;
            *cost = (spent / u64::from(TIMES), began.elapsed().as_nanos() / u128::from(TIMES));
        }
        costs
    }
}

#[tokio::test]
async fn no_decision_grows_with_the_bindings() {
    let (few, many) = (World::with(10).await, World::with(5_000).await);
    let (cheap, dear) = (few.costs().await, many.costs().await);
    println!(
        "allocations and nanoseconds of an allowed and a refused request: {cheap:?} with 10 bindings, {dear:?} with 5,000"
    );
    for (cheap, dear) in cheap.iter().zip(&dear) {
        assert!(dear.0 <= cheap.0 + 1, "a decision grows with the bindings: {cheap:?}, {dear:?}");
    }
    // A right is there with the binding that gives it.
    many.ask("secrets", 403).await;
    many.bind("default/another".into(), "team7".into()).await;
    many.ask("configmaps", 404).await;
}
