//! The chain with plugins of its own: who is asked when, and that what is taken is settled, however a write ends.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use client::{Answer, Call, Gvr, Identity, Objects, Options, Status, Target, Verb};
use serde_json::{Value, json};
use store::{
    Collection, Entry, Interest, Op, Page, RangeQuery, Revision, SqliteStore, Store, StoreError, Watcher,
    Write,
};
use tokio::sync::{Notify, mpsc};

use super::Operation::{Create, Delete, Update};
use super::reserve::{Outcome, Reservation};
use super::{Chain, EVERY, MAIN, Mutate, Operation, Reserve, Review, Row, Validate, Want};
use crate::context::pki::Pki;
use crate::facade::{Config, Server};

const WRITE: &[Operation] = &[Create, Update, Delete];

/// A plugin that tells what it is asked.
struct Teller {
    said: mpsc::UnboundedSender<String>,
    name: &'static str,
}

impl Teller {
    fn tell(&self, phase: &str, review: &Review<'_>) {
        let place = if review.subresource.is_empty() { "" } else { "/" };
        let text = format!(
            "{} {phase} {} {}{place}{}",
            self.name,
            review.operation.name(),
            review.kind.plural,
            review.subresource
        );
        self.said.send(text).expect("the test listens");
    }
}

#[async_trait]
impl Mutate for Teller {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        self.tell("mutates", review);
        if review.object["data"]["again"].is_string() && self.name == "last" {
            review.object["data"]["seen"] = "x".into();
            review.reinvoke();
        }
        Ok(())
    }
}

#[async_trait]
impl Validate for Teller {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        self.tell("validates", review);
        if review.object["data"]["bad"].is_string() { Err(review.refuse("it is bad")) } else { Ok(()) }
    }
}

/// Takes something for every object, and writes it into it.
#[async_trait]
impl Reserve for Teller {
    async fn reserve(&self, review: &mut Review<'_>) -> Result<Option<Box<dyn Reservation>>, Status> {
        self.tell("takes for", review);
        if review.object["data"]["none"].is_string() && self.name == "last" {
            return Err(review.refuse("none is left"));
        }
        if review.object.is_object() {
            review.object["data"][self.name] = "taken".into();
        }
        Ok(Some(Box::new(Taken { said: self.said.clone(), name: self.name })))
    }
}

struct Taken {
    said: mpsc::UnboundedSender<String>,
    name: &'static str,
}

#[async_trait]
impl Reservation for Taken {
    async fn settle(self: Box<Self>, outcome: Outcome) {
        self.said.send(format!("{} settles {outcome:?}", self.name)).expect("the test listens");
    }
}

/// What goes wrong with the next commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Written, and the answer is lost.
    AnswerLost,
    /// Not written, and nobody knows.
    WriteLost,
    /// Another write comes first, once.
    Overtaken,
    /// Waits until it may go on.
    Held,
}

/// A store that fails when it is told to.
struct Faulty {
    inner: Arc<dyn Store>,
    fault: Mutex<Fault>,
    reached: Notify,
    may_go_on: Notify,
}

impl Faulty {
    fn set(&self, fault: Fault) {
        *self.fault.lock().expect("held for a moment only") = fault;
    }
}

#[async_trait]
impl Store for Faulty {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }
    async fn barrier(&self) -> Result<Revision, StoreError> {
        self.inner.barrier().await
    }
    async fn wait_for(&self, revision: Revision) {
        self.inner.wait_for(revision).await;
    }
    fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.inner.get(key)
    }
    fn range(&self, query: &RangeQuery<'_>) -> Result<Page, StoreError> {
        self.inner.range(query)
    }
    fn read(&self, buckets: &[&str]) -> (Revision, Vec<Collection>) {
        self.inner.read(buckets)
    }
    async fn commit(&self, write: Write) -> Result<Arc<Entry>, StoreError> {
        let lost = || StoreError::Unavailable("the answer is lost".into());
        let fault = *self.fault.lock().expect("held for a moment only");
        match fault {
            Fault::None => {}
            Fault::AnswerLost => return self.inner.commit(write).await.and(Err(lost())),
            Fault::WriteLost => return Err(lost()),
            Fault::Overtaken => {
                self.set(Fault::None);
                let Some(current) = self.inner.get(&write.key) else { return Err(lost()) };
                let text = String::from_utf8_lossy(&crate::context::object::without_revision(&current))
                    .replace("\"data\":{", "\"data\":{\"other\":\"write\",");
                let expect = store::Expect::Any;
                self.inner.commit(Write { key: write.key.clone(), expect, op: Op::Put(text.into()) }).await?;
            }
            Fault::Held => {
                self.reached.notify_one();
                self.may_go_on.notified().await;
            }
        }
        self.inner.commit(write).await
    }
    fn watch(&self, interests: &[Interest], after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        self.inner.watch(interests, after)
    }
    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

/// A server with the plugins `first` and `last`, and what they say.
struct World {
    api: Arc<dyn Objects>,
    store: Arc<Faulty>,
    said: mpsc::UnboundedReceiver<String>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(row: impl Fn(Row, Teller) -> Row) -> Self {
        const WANTS: &[Want] =
            &[Want::new(WRITE, "configmaps", MAIN), Want::new(&[Create], "serviceaccounts", EVERY)];
        let dir = tempfile::tempdir().expect("a directory");
        let pki = Pki::open(&dir.path().join("pki"), &[], &[]).expect("keys");
        let inner: Arc<dyn Store> =
            SqliteStore::open(&dir.path().join("store.db"), store::Options::default(), crate::read_facts())
                .expect("a store");
        let (reached, may_go_on) = (Notify::new(), Notify::new());
        let store = Arc::new(Faulty { inner, fault: Mutex::new(Fault::None), reached, may_go_on });
        let (sender, said) = mpsc::unbounded_channel();
        let rows = ["first", "last"].map(|name| {
            let teller = Teller { said: sender.clone(), name };
            row(Row::new(name, WANTS), teller)
        });
        let chain = Chain::new(rows.into_iter().collect());
        let server = Server::with(Config::new(store.clone(), pki), chain);
        server.bootstrap().await.expect("an empty store");
        let identity =
            Identity { name: "admin".into(), groups: vec!["system:masters".into()], ..Identity::default() };
        let mut world = Self { api: server.objects(identity, "test"), store, said, _dir: dir };
        world.heard();
        world
    }

    fn heard(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.said.try_recv().ok()).collect()
    }

    fn call(
        &self,
        path: &str,
        verb: Verb,
        dry_run: bool,
    ) -> impl Future<Output = Result<Value, Status>> + use<> {
        let mut parts = path.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let gvr = Gvr::new("", "v1", &next());
        let target = Target { gvr, namespace: "default".into(), name: next(), subresource: next() };
        let (api, options) = (self.api.clone(), Options { dry_run, ..Options::default() });
        async move { api.call(Call { target, verb, options }).await.and_then(Answer::value) }
    }

    async fn create(&self, name: &str, data: Value) -> Result<Value, Status> {
        self.call("configmaps", Verb::Create(map(name, data)), false).await
    }
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

#[tokio::test]
async fn order_index_and_reinvocation() {
    let mut world = World::new(|row, teller| {
        let second = Teller { said: teller.said.clone(), name: teller.name };
        row.mutates(teller).validates(second)
    })
    .await;
    let made = world.create("a", json!({"again": "x"})).await.expect("it is admitted");
    assert_eq!(made["data"]["seen"], "x");
    let of = |phase: &str, what: &str| ["first", "last"].map(|name| format!("{name} {phase} {what}"));
    let (mutate, validate) = (of("mutates", "CREATE configmaps"), of("validates", "CREATE configmaps"));
    assert_eq!(
        world.heard(),
        [&mutate[..], &mutate[..], &validate[..]].concat(),
        "the first phase ran twice"
    );
    let refused = world.create("b", json!({"bad": "x"})).await.expect_err("it is refused");
    assert_eq!(refused.message, "configmaps \"b\" is forbidden: it is bad");
    assert_eq!(world.heard(), [&mutate[..], &validate[..1]].concat(), "the first refusal ends the phase");
    world.call("configmaps/a", Verb::Delete(None), false).await.expect("it is deleted");
    assert_eq!(
        world.heard(),
        [of("mutates", "DELETE configmaps"), of("validates", "DELETE configmaps")].concat()
    );
    let account = json!({"metadata": {"name": "s"}});
    world.call("serviceaccounts", Verb::Create(account.clone()), false).await.expect("it is admitted");
    world.call("serviceaccounts/s/token", Verb::Create(json!({"spec": {}})), false).await.expect("a token");
    let (account, token) = ("CREATE serviceaccounts", "CREATE serviceaccounts/token");
    let each = |what| [of("mutates", what), of("validates", what)].concat();
    assert_eq!(world.heard(), [each(account), each(token)].concat());
    world.call("secrets", Verb::Create(map("s", json!({}))), false).await.expect("nobody asks");
    assert!(world.heard().is_empty(), "a kind that nobody asks about passes without a walk");
}

/// What is taken, in words: both plugins take, and settle in the opposite order.
fn settled(operation: &str, outcome: &str) -> Vec<String> {
    let take = |name: &str| format!("{name} takes for {operation} configmaps");
    let settle = |name: &str| format!("{name} settles {outcome}");
    vec![take("first"), take("last"), settle("last"), settle("first")]
}

#[tokio::test]
async fn what_is_taken_is_settled() {
    let mut world = World::new(|row, teller| {
        let second = Teller { said: teller.said.clone(), name: teller.name };
        row.validates(teller).reserves(second)
    })
    .await;
    let taking = |world: &mut World| -> Vec<String> {
        world.heard().into_iter().filter(|text| !text.contains(" validates ")).collect()
    };
    let made = world.create("a", json!({})).await.expect("it is made");
    assert_eq!(made["data"], json!({"first": "taken", "last": "taken"}), "what is taken is stored");
    assert_eq!(taking(&mut world), settled("CREATE", "Stored"));
    world.create("a", json!({})).await.expect_err("there is one");
    assert_eq!(taking(&mut world), settled("CREATE", "Nothing"));
    world.create("b", json!({"bad": "x"})).await.expect_err("admission refuses");
    assert!(taking(&mut world).is_empty(), "nothing is taken for what is refused");
    world.create("b", json!({"none": "x"})).await.expect_err("the second has none");
    assert_eq!(
        taking(&mut world),
        ["first takes for CREATE configmaps", "last takes for CREATE configmaps", "first settles Nothing"]
    );
    let dry = world.call("configmaps", Verb::Create(map("b", json!({}))), true).await.expect("a dry run");
    assert_eq!(dry["data"]["last"], "taken");
    assert_eq!(taking(&mut world), settled("CREATE", "Nothing"));
    world.call("configmaps/a", Verb::Update(made), false).await.expect("it is the same");
    assert!(taking(&mut world).is_empty(), "what changes nothing takes nothing");
    world.store.set(Fault::Overtaken);
    let changed = world.call("configmaps/a", Verb::Update(map("a", json!({"x": "y"}))), false).await;
    assert_eq!(changed.expect("the second attempt")["data"]["x"], "y");
    assert_eq!(taking(&mut world), [settled("UPDATE", "Nothing"), settled("UPDATE", "Stored")].concat());
    world.call("configmaps/a", Verb::Delete(None), false).await.expect("it is deleted");
    assert_eq!(taking(&mut world), settled("DELETE", "Removed"));
}

#[tokio::test]
async fn lost_answers_are_looked_up() {
    let mut world = World::new(Row::reserves).await;
    for (fault, outcome) in [(Fault::AnswerLost, "Stored"), (Fault::WriteLost, "Nothing")] {
        world.store.set(fault);
        world.create(&outcome.to_lowercase(), json!({})).await.expect_err("the answer is lost");
        assert_eq!(world.heard(), settled("CREATE", outcome), "{fault:?}");
    }
    world.store.set(Fault::WriteLost);
    let update = Verb::Update(map("stored", json!({"x": "y"})));
    world.call("configmaps/stored", update, false).await.expect_err("the answer is lost");
    assert_eq!(world.heard(), settled("UPDATE", "Nothing"));
    world.store.set(Fault::AnswerLost);
    world.call("configmaps/stored", Verb::Delete(None), false).await.expect_err("the answer is lost");
    assert_eq!(world.heard(), settled("DELETE", "Removed"));
}

#[tokio::test]
async fn a_request_that_goes_does_not_take_it_along() {
    let mut world = World::new(Row::reserves).await;
    world.store.set(Fault::Held);
    let request = world.call("configmaps", Verb::Create(map("a", json!({}))), false);
    tokio::select! {
        _ = request => panic!("the store holds it"),
        () = world.store.reached.notified() => {}
    }
    // The request is gone; its write is not.
    world.store.may_go_on.notify_one();
    for want in settled("CREATE", "Stored") {
        assert_eq!(world.said.recv().await.as_deref(), Some(want.as_str()));
    }
    assert!(world.store.get("configmaps/default/a").is_some());
}
