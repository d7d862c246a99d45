//! Sessions through every protocol, with in-process clients and a runtime of two commands.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt as _, StreamExt as _};
use runtime::{
    ContainerSpec, ContainerStatus, ExecOutput, Resources, RuntimeError, RuntimeEvent, SandboxSpec,
    SandboxStatus, Session, Stats,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::spdy::Frame;
use super::spdy::tests::Client;
use super::*;

/// Runs `cat CODE` (input to output, then `bye` to the errors) and `size` (waits for a terminal size and prints it).
#[derive(Default)]
pub(crate) struct Fake;

fn absent<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::State("not in this test".into()))
}

fn session(spec: ExecSpec) -> Session {
    let (stdin, mut from) = tokio::io::duplex(1 << 10);
    let (mut to, stdout) = tokio::io::duplex(1 << 10);
    let (mut errors, stderr) = tokio::io::duplex(1 << 10);
    let (resized, mut sizes) = tokio::sync::mpsc::unbounded_channel();
    let (has_stdin, command) = (spec.stdin, spec.command);
    let run = tokio::spawn(async move {
        match command[0].as_str() {
            "size" => {
                let (columns, rows): (u16, u16) = sizes.recv().await.unwrap();
                to.write_all(format!("{columns}x{rows}").as_bytes()).await.unwrap();
                0
            }
            _ => {
                if has_stdin {
                    tokio::io::copy(&mut from, &mut to).await.unwrap();
                }
                errors.write_all(b"bye").await.unwrap();
                command[1].parse().unwrap()
            }
        }
    });
    Session {
        stdin: has_stdin.then(|| Box::new(stdin) as _),
        stdout: Box::new(stdout),
        stderr: (!spec.tty).then(|| Box::new(stderr) as _),
        resize: spec.tty.then(|| {
            Arc::new(move |columns, rows| resized.send((columns, rows)).unwrap_or_default())
                as Arc<dyn Fn(u16, u16) + Send + Sync>
        }),
        exit: Box::pin(async move { Ok(run.await.unwrap()) }),
    }
}

#[async_trait]
impl Runtime for Fake {
    fn version(&self) -> (String, String) {
        ("fake".into(), "0".into())
    }
    async fn apply_cgroup(&self, _: &str, _: &Resources) -> Result<(), RuntimeError> {
        absent()
    }
    async fn remove_cgroup(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn cgroups(&self, _: &str) -> Result<Vec<String>, RuntimeError> {
        absent()
    }
    async fn run_sandbox(&self, _: SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        absent()
    }
    async fn stop_sandbox(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn remove_sandbox(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn sandboxes(&self, _: Option<&str>) -> Result<Vec<SandboxStatus>, RuntimeError> {
        absent()
    }
    async fn create_container(&self, _: &str, _: ContainerSpec) -> Result<String, RuntimeError> {
        absent()
    }
    async fn start_container(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn stop_container(&self, _: &str, _: Duration) -> Result<(), RuntimeError> {
        absent()
    }
    async fn remove_container(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn containers(&self, _: Option<&str>) -> Result<Vec<ContainerStatus>, RuntimeError> {
        absent()
    }
    async fn container(&self, _: &str) -> Result<ContainerStatus, RuntimeError> {
        absent()
    }
    async fn exec_sync(
        &self,
        _: &str,
        _: Vec<String>,
        _: Option<Duration>,
    ) -> Result<ExecOutput, RuntimeError> {
        absent()
    }
    async fn exec(&self, _: &str, spec: ExecSpec) -> Result<Session, RuntimeError> {
        if spec.command[0] == "missing" {
            return Err(RuntimeError::Start("exec: \"missing\": executable file not found in $PATH".into()));
        }
        Ok(session(spec))
    }
    async fn attach(&self, _: &str, stdin: bool) -> Result<Session, RuntimeError> {
        Ok(session(ExecSpec { command: vec!["cat".into(), "9".into()], tty: false, stdin }))
    }
    async fn connect(&self, _: &str, port: u16) -> Result<tokio::net::TcpStream, RuntimeError> {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        connected.map_err(|e| RuntimeError::System {
            operation: format!("connect to port {port}"),
            message: e.to_string(),
        })
    }
    async fn reopen_log(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn update_resources(&self, _: &str, _: &Resources) -> Result<(), RuntimeError> {
        absent()
    }
    async fn writable_layer(&self, _: &str) -> Result<std::path::PathBuf, RuntimeError> {
        unreachable!()
    }
    async fn stats(&self, _: &str) -> Result<Stats, RuntimeError> {
        Ok(Stats { cpu_usage_ns: 5, ..Stats::default() })
    }
    fn events(&self) -> tokio::sync::broadcast::Receiver<RuntimeEvent> {
        tokio::sync::broadcast::channel(1).1
    }
    fn clamps(&self) -> Vec<String> {
        Vec::new()
    }
}

fn wants(query: &str) -> Remote {
    let pairs: Vec<_> =
        query.split('&').map(|p| p.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.into())).collect();
    let options = Options::from_pairs(&pairs).unwrap();
    Remote { runtime: Arc::new(Fake), container: "c".into(), attach: options.command.is_empty(), options }
}

/// What a client got: output, errors, the error stream, whether all streams were ended.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    stdout: String,
    stderr: String,
    error: String,
}

fn got(stdout: &[u8], stderr: &[u8], error: &[u8]) -> Got {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut error = text(error);
    if let Ok(status) = serde_json::from_str::<serde_json::Value>(&error) {
        let cause = &status["details"]["causes"][0]["message"];
        error = format!("{} {}", status["status"].as_str().unwrap(), cause.as_str().unwrap_or_default());
    }
    Got { stdout: text(stdout), stderr: text(stderr), error }
}

async fn by_spdy(protocol: &'static str, remote: Remote, input: &[u8]) -> Got {
    let options = remote.options.clone();
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let serving = tokio::spawn(over_spdy::remote(ours, protocol, remote));
    let mut client = Client::new(theirs);
    let mut ids = BTreeMap::new();
    let resize = options.tty && protocol != "v2.channel.k8s.io";
    for (name, wanted) in [
        ("error", true),
        ("stdin", options.stdin),
        ("stdout", options.stdout),
        ("stderr", options.stderr),
        ("resize", resize),
    ] {
        if wanted {
            ids.insert(name, client.open(&[("streamtype", name)]).await);
        }
    }
    if let Some(id) = ids.get("resize") {
        client.data(*id, br#"{"Width":100,"Height":30}"#, false).await;
    }
    if let Some(id) = ids.get("stdin") {
        client.data(*id, input, false).await;
        client.data(*id, b"", true).await;
    }
    let all = client.collect().await;
    drop(client);
    serving.await.unwrap();
    let take = |name: &str| {
        let Some(id) = ids.get(name) else { return Vec::new() };
        let (bytes, ended) = all.get(id).cloned().unwrap_or_default();
        assert!(ended, "{name} was not ended");
        bytes
    };
    got(&take("stdout"), &take("stderr"), &take("error"))
}

fn socket<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    io: T,
) -> impl Future<Output = WebSocketStream<T>> {
    WebSocketStream::from_raw_socket(io, Role::Client, None)
}

async fn by_websocket(name: &str, remote: Remote, input: &[u8]) -> Got {
    let protocol = channel::choose(&[name], channel::REMOTE).unwrap();
    let options = remote.options.clone();
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let serving = tokio::spawn(websocket::remote(ours, protocol, remote));
    let mut client = socket(theirs).await;
    let hello = client.next().await.unwrap().unwrap();
    assert!(matches!(protocol.decode(hello), Ok(channel::Received::Data(_, data)) if data.is_empty()));
    if options.tty {
        client.send(protocol.encode(channel::RESIZE, br#"{"Width":100,"Height":30}"#)).await.unwrap();
    }
    if options.stdin {
        client.send(protocol.encode(channel::STDIN, input)).await.unwrap();
        if name == "v5.channel.k8s.io" {
            client.send(Message::binary(vec![255, 0])).await.unwrap();
        }
    }
    let mut all: [Vec<u8>; 4] = Default::default();
    while let Some(Ok(message)) = client.next().await {
        if let Ok(channel::Received::Data(n, data)) = protocol.decode(message) {
            all[usize::from(n)].extend_from_slice(&data);
        }
    }
    serving.await.unwrap();
    got(&all[1], &all[2], &all[3])
}

#[tokio::test]
async fn every_protocol_carries_a_session_and_its_verdict() {
    let none = String::new;
    for protocol in ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"] {
        let v4 = protocol.starts_with("v4");
        let found =
            by_spdy(protocol, wants("command=cat&command=3&input=1&output=1&error=1"), b"hello").await;
        let error = if v4 {
            "Failure 3".into()
        } else {
            "command terminated with non-zero exit code: error executing command [cat 3], exit code 3".into()
        };
        assert_eq!(found, Got { stdout: "hello".into(), stderr: "bye".into(), error }, "{protocol}");
        let found = by_spdy(protocol, wants("command=cat&command=0&output=1"), b"").await;
        let error = if v4 { "Success ".into() } else { none() };
        assert_eq!(found, Got { stdout: none(), stderr: none(), error }, "{protocol}");
    }
    let found = by_websocket(
        "v5.channel.k8s.io",
        wants("command=cat&command=3&stdin=true&stdout=true&stderr=true"),
        b"hello",
    )
    .await;
    assert_eq!(found, Got { stdout: "hello".into(), stderr: "bye".into(), error: "Failure 3".into() });
    for protocol in
        ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", ""]
    {
        let found = by_websocket(protocol, wants("command=cat&command=0&output=1&error=1"), b"").await;
        let error = if protocol.starts_with('v') { "Success ".into() } else { none() };
        assert_eq!(found, Got { stdout: none(), stderr: "bye".into(), error }, "{protocol}");
    }
}

#[tokio::test]
async fn terminals_attach_and_commands_that_cannot_start() {
    let tty = || wants("command=size&tty=1&output=1&error=1");
    for found in
        [by_spdy("v4.channel.k8s.io", tty(), b"").await, by_websocket("v4.channel.k8s.io", tty(), b"").await]
    {
        assert_eq!(found, got(b"100x30", b"", br#"{"status":"Success"}"#));
    }
    let found = by_spdy("v4.channel.k8s.io", wants("input=1&output=1"), b"typed").await;
    assert_eq!(
        found,
        got(b"typed", b"", br#"{"status":"Success"}"#),
        "the end of an attached container is no failure"
    );
    let missing = by_websocket("channel.k8s.io", wants("command=missing&output=1"), b"").await;
    assert!(missing.error.contains("executable file not found in $PATH"), "{missing:?}");
}

#[tokio::test]
async fn large_output_arrives_whole() {
    let input = vec![b'x'; 700_000];
    let remote = wants("command=cat&command=0&input=1&output=1");
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    tokio::spawn(websocket::remote(
        ours,
        channel::choose(&["v5.channel.k8s.io"], channel::REMOTE).unwrap(),
        remote,
    ));
    let (mut send, mut receive) = socket(theirs).await.split();
    let sending = tokio::spawn(async move {
        for piece in input.chunks(30_000) {
            send.send(Message::binary([&[0], piece].concat())).await.unwrap();
        }
        send.send(Message::binary(vec![255, 0])).await.unwrap();
        send
    });
    let mut size = 0;
    while let Some(Ok(message)) = receive.next().await {
        if let Message::Binary(data) = message
            && data[0] == 1
        {
            size += data.len() - 1;
        }
    }
    assert_eq!(size, 700_000);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_session() {
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let serving = tokio::spawn(over_spdy::remote(
        ours,
        "v4.channel.k8s.io",
        wants("command=cat&command=0&input=1&output=1"),
    ));
    let mut client = Client::new(theirs);
    for name in ["error", "stdin", "stdout"] {
        client.open(&[("streamtype", name)]).await;
    }
    drop(client);
    serving.await.unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let protocol = channel::choose(&[], channel::REMOTE).unwrap();
    let serving =
        tokio::spawn(websocket::remote(ours, protocol, wants("command=cat&command=0&input=1&output=1")));
    drop(theirs);
    serving.await.unwrap();
}

/// A server that answers each connection with what it got, upper case, once the client ended.
async fn echo() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut text = String::new();
                tcp.read_to_string(&mut text).await.unwrap();
                tcp.write_all(text.to_uppercase().as_bytes()).await.unwrap();
            });
        }
    });
    port
}

async fn forwards_over<T>(mut client: Client<T>, port: u16)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut pairs = Vec::new();
    for (request, port) in [("0", port), ("1", port), ("2", 1)] {
        let port = port.to_string();
        let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", request)];
        let error = client.open(&headers("error")).await;
        client.data(error, b"", true).await;
        pairs.push((client.open(&headers("data")).await, error));
    }
    let bad = client.open(&[("streamtype", "data"), ("port", "x"), ("requestid", "9")]).await;
    for (n, (data, _)) in pairs.iter().enumerate() {
        client.data(*data, format!("hello {n}").as_bytes(), true).await;
    }
    let (mut all, mut open, mut refused) = (BTreeMap::<u32, Vec<u8>>::new(), 6, false);
    while open > 0 || !refused {
        match client.next().await.unwrap() {
            Frame::Data { stream, fin, data } => {
                all.entry(stream).or_default().extend_from_slice(&data);
                open -= u32::from(fin);
            }
            Frame::Reset { stream, .. } => refused = stream == bad,
            _ => (),
        }
    }
    let text = |id: u32| String::from_utf8(all[&id].clone()).unwrap();
    assert_eq!((text(pairs[0].0), text(pairs[0].1)), ("HELLO 0".into(), String::new()));
    assert_eq!((text(pairs[1].0), text(pairs[1].1)), ("HELLO 1".into(), String::new()));
    assert_eq!(text(pairs[2].0), "");
    assert!(
        text(pairs[2].1).starts_with("error forwarding port 1 to pod s, uid u: connect to port 1"),
        "{}",
        text(pairs[2].1)
    );
}

fn target() -> Target {
    Target { runtime: Arc::new(Fake), sandbox: "s".into(), uid: "u".into() }
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy() {
    let port = echo().await;
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let serving = tokio::spawn(forward::spdy(ours, target()));
    forwards_over(Client::new(theirs), port).await;
    serving.await.unwrap();
}

#[tokio::test]
async fn ports_are_forwarded_through_a_tunnel() {
    let port = echo().await;
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let serving = tokio::spawn(websocket::tunnel(ours, target()));
    let (mut sink, mut stream) = socket(theirs).await.split();
    let (near, far) = tokio::io::duplex(1 << 14);
    let (mut read, mut write) = tokio::io::split(near);
    let outward = tokio::spawn(async move {
        let mut buffer = vec![0; 777];
        while let Ok(n) = read.read(&mut buffer).await
            && n > 0
        {
            sink.send(Message::binary(buffer[..n].to_vec())).await.unwrap();
        }
        sink.close().await.unwrap();
    });
    let inward = tokio::spawn(async move {
        while let Some(Ok(Message::Binary(data))) = stream.next().await {
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
    });
    forwards_over(Client::<DuplexStream>::new(far), port).await;
    outward.await.unwrap();
    serving.await.unwrap();
    inward.await.unwrap();
}

#[tokio::test]
async fn ports_are_forwarded_the_oldest_way() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 5];
        tcp.read_exact(&mut bytes).await.unwrap();
        tcp.write_all(&bytes.to_ascii_uppercase()).await.unwrap();
    });
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let protocol = channel::choose(&["v4.channel.k8s.io"], channel::FORWARD).unwrap();
    let serving = tokio::spawn(websocket::forward(ours, protocol, target(), vec![port, 1]));
    let mut client = socket(theirs).await;
    client.send(Message::binary(b"\0hello".to_vec())).await.unwrap();
    let mut all: [Vec<u8>; 4] = Default::default();
    while let Some(Ok(message)) = client.next().await {
        if let Message::Binary(data) = message {
            all[usize::from(data[0])].extend_from_slice(&data[1..]);
        }
    }
    serving.await.unwrap();
    assert_eq!(all[0], [&port.to_le_bytes()[..], b"HELLO"].concat());
    assert_eq!(all[1], port.to_le_bytes());
    assert_eq!(all[2], 1_u16.to_le_bytes());
    assert!(String::from_utf8_lossy(&all[3][2..]).starts_with("error forwarding port 1"), "{:?}", all[3]);
}

#[test]
fn the_answer_to_an_upgrade() {
    let ask = |headers: &[(&str, &str)], forward: bool| {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        let answer = if forward {
            port_forward(&mut request, target(), vec![])
        } else {
            exec_or_attach(&mut request, wants("command=cat&output=1"))
        };
        let header = |name: &str| {
            answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        (
            answer.status().as_u16(),
            header("upgrade"),
            header("x-stream-protocol-version") + &header("sec-websocket-protocol"),
        )
    };
    let (web, spdy) = (("upgrade", "websocket"), ("upgrade", "SPDY/3.1"));
    let (on, key) = (("connection", "Upgrade"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
    let v = |names| ("x-stream-protocol-version", names);
    let p = |names| ("sec-websocket-protocol", names);
    let refused = |code| (code, String::new(), String::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    type Case<'a> = (&'a [(&'a str, &'a str)], bool, (u16, String, String));
    let cases: [Case; 11] = [
        (&[], false, refused(400)),
        (
            &[on, spdy, v("v9"), v("v3.channel.k8s.io")],
            false,
            (101, "SPDY/3.1".into(), "v3.channel.k8s.io".into()),
        ),
        (
            &[on, spdy, v("v4.channel.k8s.io, v3.channel.k8s.io")],
            false,
            (101, "SPDY/3.1".into(), "v4.channel.k8s.io".into()),
        ),
        (&[on, spdy, v("v9")], false, refused(403)),
        (&[on, spdy], false, refused(400)),
        (
            &[on, web, key, p("v5.channel.k8s.io")],
            false,
            (101, "websocket".into(), "v5.channel.k8s.io".into()),
        ),
        (&[on, web, key], false, (101, "websocket".into(), String::new())),
        (&[on, web, key, p("v9")], false, refused(400)),
        (&[on, web, p("v5.channel.k8s.io")], false, refused(400)),
        (&[on, web, key, p(TUNNEL)], true, (101, "websocket".into(), TUNNEL.into())),
        (&[on, spdy, v("portforward.k8s.io")], true, (101, "SPDY/3.1".into(), "portforward.k8s.io".into())),
    ];
    for (headers, forward, want) in cases {
        assert_eq!(ask(headers, forward), want, "{headers:?}");
    }
}
