//! A volume of a driver that is somebody else's: its own thread, its own sockets, real gRPC.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::mount::{MsFlags, mount};
use serde_json::json;
use tokio::net::UnixListener;

use super::super::tests::{NONE, alone, with};
use crate::grpc::{self, Message};

#[derive(Default)]
struct Said {
    /// Method and message.
    calls: Mutex<Vec<(String, Vec<u8>)>>,
    broken: AtomicBool,
}

struct Driver {
    said: Arc<Said>,
    socket: PathBuf,
}

/// Starts a driver in a thread of its own; it ends with the process.
fn driver(data_dir: &Path) -> Driver {
    let registry = data_dir.join("plugins_registry");
    fs::create_dir_all(&registry).unwrap();
    let (register, socket) = (registry.join("mock-reg.sock"), data_dir.join("csi.sock"));
    let said = Arc::new(Said::default());
    let (ready, started) = std::sync::mpsc::channel();
    let (of_thread, endpoint) = (said.clone(), socket.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listeners = [register, endpoint.clone()].map(|path| UnixListener::bind(path).unwrap());
            ready.send(()).unwrap();
            let serve = async |listener: &UnixListener| loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (said, endpoint) = (of_thread.clone(), endpoint.clone());
                let service = service_fn(move |request| answer(said.clone(), endpoint.clone(), request));
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
            };
            tokio::join!(serve(&listeners[0]), serve(&listeners[1]));
        });
    });
    started.recv().unwrap();
    Driver { said, socket }
}

type Reply = Response<http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>>;

async fn answer(
    said: Arc<Said>,
    endpoint: PathBuf,
    request: Request<Incoming>,
) -> Result<Reply, std::convert::Infallible> {
    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = body[grpc::HEAD..].to_vec();
    said.calls.lock().unwrap().push((method.clone(), message.clone()));
    let text = |field: u64| grpc::texts(&message, field).pop().unwrap_or_default();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let reply = match method.as_str() {
        "GetInfo" => Message::default()
            .text(1, "CSIPlugin")
            .text(2, "mock.example.com")
            .text(3, endpoint.to_str().unwrap())
            .text(4, "1.0.0"),
        "NodeGetInfo" => Message::default().text(1, "node-1"),
        "NodePublishVolume" if said.broken.load(Ordering::SeqCst) => {
            trailers.insert("grpc-status", "13".parse().unwrap());
            trailers.insert("grpc-message", "no%20room".parse().unwrap());
            Message::default()
        }
        "NodePublishVolume" => {
            let target = text(4);
            fs::create_dir_all(&target).unwrap();
            mount(Some("mock"), target.as_str(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            fs::write(format!("{target}/hello"), text(1)).unwrap();
            Message::default()
        }
        "NodeUnpublishVolume" => {
            nix::mount::umount(text(2).as_str()).unwrap();
            fs::remove_dir(text(2)).unwrap();
            Message::default()
        }
        _ => Message::default(),
    };
    let body = Full::new(grpc::frame(reply.as_bytes())).with_trailers(async { Some(Ok(trailers)) });
    Ok(Response::builder().header("content-type", "application/grpc").body(body.boxed_unsync()).unwrap())
}

impl Driver {
    fn calls(&self) -> Vec<String> {
        self.said.calls.lock().unwrap().drain(..).map(|(method, _)| method).collect()
    }

    fn last(&self, field: u64) -> Vec<String> {
        grpc::texts(&self.said.calls.lock().unwrap().last().unwrap().1, field)
    }
}

fn csi() -> serde_json::Value {
    json!({"csi": {"driver": "mock.example.com", "volumeAttributes": {"size": "1"}}})
}

#[test]
fn a_driver_makes_and_takes_back_a_volume() {
    alone(async |w| {
        let driver = driver(w.temp.path());
        let pod = with(csi(), json!({"serviceAccountName": "sa"}));
        let path = w.volumes.setup(&pod, &NONE).await.unwrap()["v"].clone();
        assert!(path.ends_with("u-1/volumes/kubernetes.io~csi/v/mount"), "{path:?}");
        let handle = super::handle(&pod, "v");
        assert_eq!(fs::read_to_string(path.join("hello")).unwrap(), handle);
        let context = driver.last(8).join(" ");
        for known in ["size", "csi.storage.k8s.io/pod.uid\u{12}\u{3}u-1", "csi.storage.k8s.io/ephemeral"] {
            assert!(context.contains(known), "{context:?}");
        }
        let first = ["GetInfo", "NodeGetInfo", "NotifyRegistrationStatus", "NodePublishVolume"];
        assert_eq!(driver.calls(), first);

        // Another life of the daemon finds it as it is, and knows whom to tell of its end without knowing the Pod.
        let later = w.again();
        assert_eq!(later.setup(&pod, &NONE).await.unwrap()["v"], path);
        assert_eq!(driver.calls(), [""; 0]);
        later.teardown("u-1").await.unwrap();
        assert!(!path.exists());
        assert_eq!(driver.last(1), [handle]);
        assert_eq!(driver.calls().last().unwrap(), "NodeUnpublishVolume");
        later.teardown("u-1").await.unwrap();
        assert_eq!(driver.calls(), [""; 0], "what was given back is not given back again");
    });
}

#[test]
fn what_a_driver_refuses_is_said_in_its_words() {
    alone(async |w| {
        let pod = with(csi(), json!({}));
        let why = async || w.volumes.setup(&pod, &NONE).await.unwrap_err().message;
        assert_eq!(
            why().await,
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: \
             driver name mock.example.com not found in the list of registered CSI drivers"
        );
        let driver = driver(w.temp.path());
        driver.said.broken.store(true, Ordering::SeqCst);
        assert_eq!(why().await, "rpc error: code = Internal desc = no room");
        driver.said.broken.store(false, Ordering::SeqCst);
        w.volumes.setup(&pod, &NONE).await.unwrap();
        let gone = driver.socket.with_extension("gone");
        fs::rename(&driver.socket, &gone).unwrap();
        let why = w.volumes.teardown("u-1").await.unwrap_err();
        assert_eq!(why.volume, "v");
        assert!(why.message.contains("Unmounter.TearDownAt failed to get CSI client"), "{why}");
        fs::rename(&gone, &driver.socket).unwrap();
        w.volumes.teardown("u-1").await.unwrap();
    });
}
