//! Durable commits per second, one at a time and in groups of 100, and the memory they take: `bench DIRECTORY`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use store::{Expect, Op, Options, ReadFacts, SqliteStore, Store, Write};

const SPAN: Duration = Duration::from_secs(2);

fn value() -> Bytes {
    format!(r#"{{"metadata":{{"name":"x"}},"data":"{}"}}"#, "v".repeat(260)).into()
}

async fn commits(store: &SqliteStore, group: usize) -> f64 {
    let started = Instant::now();
    let (mut done, value) = (0u32, value());
    while started.elapsed() < SPAN {
        let writes = (0..group).map(|member| {
            let key = format!("pods/default/pod-{}", (done as usize + member) % 5000);
            store.commit(Write { key: key.into(), expect: Expect::Any, op: Op::Put(value.clone()) })
        });
        for result in join_all(writes).await {
            result.expect("the disk takes the bench's writes");
            done += 1;
        }
    }
    f64::from(done) / started.elapsed().as_secs_f64()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).expect("usage: bench DIRECTORY"));
    let store = SqliteStore::open(&dir.join("bench.db"), Options::default(), ReadFacts::of_metadata())
        .expect("the directory is writable");
    let mut out = std::io::stdout();
    for (name, group) in [("single", 1), ("groups of 100", 100)] {
        let rate = commits(&store, group).await;
        writeln!(out, "store: {name}: {rate:.0} commits/s").expect("stdout");
    }
    writeln!(out, "store: {:?}", store.stats()).expect("stdout");
    store.close().await.expect("the store closes");
}
