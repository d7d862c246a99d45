//! The protocol, over real sockets on loopback, with another server beside.

use std::net::Ipv4Addr;

use client::follow::Told;
use hickory_proto::op::Query;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RecordType};

use super::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn service(name: &str, spec: &serde_json::Value) -> Told {
    Told::Now(client::Object {
        namespace: "d".into(),
        name: name.into(),
        revision: 1,
        json: serde_json::json!({"spec": spec}).to_string().into(),
        facts: Arc::new(client::Facts::default()),
    })
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", &[]);
    zone.services(service(
        "web",
        &serde_json::json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}),
    ));
    zone.services(service(
        "out",
        &serde_json::json!({"type": "ExternalName", "externalName": "web.d.svc.cluster.local"}),
    ));
    zone.services(service("big", &serde_json::json!({"clusterIP": "None"})));
    let endpoints: Vec<_> =
        (0..60).map(|last| serde_json::json!({"addresses": [format!("10.64.3.{last}")]})).collect();
    let slice = serde_json::json!({"metadata": {"labels": {"kubernetes.io/service-name": "big"}}, "addressType": "IPv4",
        "endpoints": endpoints});
    zone.slices(Told::Now(client::Object {
        namespace: "d".into(),
        name: "s".into(),
        revision: 1,
        json: slice.to_string().into(),
        facts: Arc::new(client::Facts::default()),
    }));
    let all = |names: &[&str]| Told::All(names.iter().map(|name| ("d".into(), (*name).into())).collect());
    zone.services(all(&["web", "out", "big"]));
    zone.slices(all(&["s"]));
    zone
}

/// A server that answers, or with `None` one that has no other servers.
async fn begin(tasks: &mut JoinSet<()>) -> SocketAddr {
    let file = std::path::PathBuf::from("/dev/null");
    let server = Arc::new(Server::new(zone(), Forward::new(file, Vec::new())));
    let sockets = Sockets::bind(LOCALHOST, 0).await.unwrap();
    let at = sockets.address().unwrap();
    server.listen(sockets, tasks);
    at
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 7;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn by_udp(at: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    socket.send_to(bytes, at).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn by_tcp(at: SocketAddr, bytes: &[u8]) -> Message {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await.unwrap();
    let mut buffer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

#[tokio::test]
async fn questions_are_answered() {
    let mut tasks = JoinSet::new();
    let at = begin(&mut tasks).await;
    for (name, code, answers) in [
        ("Web.d.SVC.cluster.local.", ResponseCode::NoError, 1),
        ("out.d.svc.cluster.local.", ResponseCode::NoError, 2),
        ("none.d.svc.cluster.local.", ResponseCode::NXDomain, 0),
        ("example.com.", ResponseCode::ServFail, 0),
    ] {
        let bytes = question(name, RecordType::A).to_vec().unwrap();
        for answer in [by_udp(at, &bytes).await, by_tcp(at, &bytes).await] {
            assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, answers), "{name}");
            assert_eq!((answer.metadata.id, answer.metadata.recursion_available), (7, true));
            assert_eq!(answer.queries[0].name.to_ascii(), name, "the question comes back as it was asked");
        }
    }
    let damaged = by_udp(at, &[1, 2, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 5]).await;
    assert_eq!((damaged.metadata.id, damaged.metadata.response_code), (0x0102, ResponseCode::FormErr));
}

#[tokio::test]
async fn what_does_not_fit_comes_by_tcp() {
    let mut tasks = JoinSet::new();
    let at = begin(&mut tasks).await;
    let mut asked = question("big.d.svc.cluster.local.", RecordType::A);
    let short = by_udp(at, &asked.to_vec().unwrap()).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(by_tcp(at, &asked.to_vec().unwrap()).await.answers.len(), 60);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.set_edns(edns);
    let longer = by_udp(at, &asked.to_vec().unwrap()).await;
    assert!(!longer.metadata.truncation && longer.answers.len() == 60 && longer.edns.is_some());
    let first = |message: &Message| message.answers[0].data.clone();
    let again = by_udp(at, &asked.to_vec().unwrap()).await;
    assert_ne!(first(&longer), first(&again), "each address is first in turn");
}

/// The rest needs port 53 of some address: a loopback address of this test's own.
async fn beside(at: Ipv4Addr) -> Option<UdpSocket> {
    UdpSocket::bind((at, 53)).await.ok()
}

#[tokio::test]
async fn others_are_asked_once() {
    let other_at = Ipv4Addr::new(127, 53, 1, 1);
    let other = beside(other_at).await.expect("root");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    std::fs::write(&file, format!("nameserver {other_at}\n")).unwrap();
    let server = Arc::new(Server::new(zone(), Forward::new(file, Vec::new())));
    let sockets = Sockets::bind(LOCALHOST, 0).await.unwrap();
    let at = sockets.address().unwrap();
    let mut tasks = JoinSet::new();
    server.listen(sockets, &mut tasks);
    let counted = Arc::new(AtomicUsize::new(0));
    let seen = counted.clone();
    tasks.spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, from) = other.recv_from(&mut buffer).await.unwrap();
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let mut answer = asked.clone().into_response();
            let name = asked.queries[0].name.clone();
            if asked.queries[0].query_type == RecordType::A {
                seen.fetch_add(1, Ordering::Relaxed);
                answer.answers.push(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 1))));
            }
            other.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    let asked = question("example.com.", RecordType::A).to_vec().unwrap();
    for _ in 0..3 {
        assert_eq!(by_udp(at, &asked).await.answers.len(), 1);
    }
    assert_eq!(counted.load(Ordering::Relaxed), 1, "the rest came from the cache");
}

#[tokio::test]
async fn who_leads_back_is_not_asked() {
    let own = Ipv4Addr::new(127, 53, 1, 2);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    std::fs::write(&file, format!("nameserver {own}\n")).unwrap();
    let server = Arc::new(Server::new(zone(), Forward::new(file, Vec::new())));
    let sockets = Sockets::bind(own.into(), 53).await.unwrap();
    let at = sockets.address().unwrap();
    assert_eq!(at.port(), 53, "root");
    let mut tasks = JoinSet::new();
    server.listen(sockets, &mut tasks);
    let answer = by_udp(at, &question("example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}
