//! The poster against an API that answers as it is told.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::{Answer, Watch};

/// Answers with these codes, then with 200; keeps what was asked.
#[derive(Default)]
struct Scripted {
    codes: Mutex<VecDeque<u16>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Objects for Scripted {
    async fn call(&self, call: Call) -> Result<Answer, Status> {
        let text = match &call.verb {
            Verb::Create(object) => format!("create {} x{}", object["message"], object["count"]),
            Verb::Patch(_, patch) => {
                format!("patch {}", serde_json::from_slice::<Value>(patch).unwrap()["count"])
            }
            other => panic!("{other:?}"),
        };
        self.asked.lock().unwrap().push(text);
        match self.codes.lock().unwrap().pop_front() {
            Some(404) => Err(Status::not_found("", "events", "e")),
            Some(500) => Err(Status::internal("no")),
            Some(403) => Err(Status::forbidden("", "events", "e", "no")),
            _ => Ok(Value::Null.into()),
        }
    }

    async fn watch(&self, _: Target, _: Options) -> Result<Box<dyn Watch>, Status> {
        Err(Status::internal("no watch here"))
    }
}

/// What is asked of an API with these answers when the same event happens so often.
async fn asked(codes: &[u16], times: usize) -> Vec<String> {
    let api =
        Arc::new(Scripted { codes: Mutex::new(codes.iter().copied().collect()), ..Scripted::default() });
    let (recorder, poster) = recorder(api.clone(), Source::default());
    let running = tokio::spawn(poster.run());
    for _ in 0..times {
        recorder.post(Reference::default(), Notice::normal("R", "m"), Timestamp::default());
    }
    // Until the clock has nothing to wait for: everything is written or given up.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    drop(recorder);
    running.await.unwrap();
    api.asked.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_asked() {
    let made = "create \"m\" x1";
    for (codes, times, want) in [
        (&[][..], 2, vec![made, "patch 2"]),
        // A failing server is asked again, one that refuses is not.
        (&[500, 500], 1, vec![made, made, made]),
        (&[403], 1, vec![made]),
        (&[500; 20], 1, vec![made; 12]),
        // An event that is gone is made anew, with its count.
        (&[200, 404], 2, vec![made, "patch 2", "create \"m\" x2"]),
    ] {
        assert_eq!(asked(codes, times).await, want, "{codes:?}");
    }
}

/// Only what is about one object waits for each other.
#[tokio::test(start_paused = true)]
async fn objects_do_not_wait_for_each_other() {
    let api = Arc::new(Scripted { codes: Mutex::new([500].into()), ..Scripted::default() });
    let (recorder, poster) = recorder(api.clone(), Source::default());
    for (name, message) in [("a", "first"), ("a", "second"), ("b", "other")] {
        let about = Reference { name: name.into(), ..Reference::default() };
        recorder.post(about, Notice::normal("R", message), Timestamp::default());
    }
    let running = tokio::spawn(poster.run());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    drop(recorder);
    running.await.unwrap();
    let want = ["first", "other", "first", "second"].map(|m| format!("create \"{m}\" x1"));
    assert_eq!(*api.asked.lock().unwrap(), want);
}

#[test]
fn an_event_says_whom_what_and_when() {
    let about = Reference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: "n".into(),
        name: "p".into(),
        uid: "u".into(),
        field_path: "spec.containers{c}".into(),
        ..Reference::default()
    };
    let posting = Posting { about, notice: Notice::warning("R", "x"), at: Timestamp::from_seconds(0) };
    let message = "\u{e9}".repeat(MAX_MESSAGE);
    let (first, last) = (Timestamp::from_seconds(0), Timestamp::from_seconds(60));
    let occurrence = Occurrence { name: "p.0".into(), count: 3, first, last, message };
    let made = object(&posting, &occurrence, &Source { component: "kubelet".into(), host: "n1".into() });
    assert_eq!(
        made["involvedObject"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "n", "name": "p",
        "uid": "u", "fieldPath": "spec.containers{c}"})
    );
    assert_eq!((&made["metadata"]["namespace"], &made["type"]), (&json!("n"), &json!("Warning")));
    assert_eq!((&made["source"]["host"], &made["reportingInstance"]), (&json!("n1"), &json!("n1")));
    assert_eq!((&made["firstTimestamp"], &made["count"]), (&json!("1970-01-01T00:00:00Z"), &json!(3)));
    assert_eq!(made["message"].as_str().unwrap().len(), MAX_MESSAGE);
}
