//! Asks the host's own servers, those on its loopback too, what the cluster does not know.
//!
//! Invariants: an answer is taken only from who was asked, with the number and the question that were sent; servers that
//! lead back here are never asked (a name that only this process knows is sent once to find them). Absent: retries for
//! ever, asking root servers.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::cache::{Cache, Key};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(5);
const PORT: u16 = 53;
/// Bytes of the longest answer by UDP.
const LONGEST: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Forward {
    file: PathBuf,
    own: HashSet<IpAddr>,
    servers: Mutex<Servers>,
    cache: Mutex<Cache>,
    /// The name that only this process knows.
    probe: String,
    /// Whether it came back.
    looped: AtomicBool,
}

#[derive(Debug, Default)]
struct Servers {
    looked: Option<Instant>,
    list: Vec<SocketAddr>,
    /// Where to begin: the one that answered last.
    first: usize,
}

/// The servers that a resolver file names, without those that are this one.
fn servers(text: &str, own: &HashSet<IpAddr>) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // A zone of a link-local address cannot be used without its link.
        name.parse::<IpAddr>().ok().filter(|ip| !own.contains(ip))
    };
    text.lines().filter_map(address).map(|ip| SocketAddr::new(ip, PORT)).collect()
}

impl Forward {
    pub(crate) fn new(file: PathBuf, own: Vec<IpAddr>) -> Self {
        Self {
            file,
            own: own.into_iter().collect(),
            servers: Mutex::default(),
            cache: Mutex::default(),
            probe: format!("minke-{:032x}.invalid", rand::random::<u128>()),
            looped: AtomicBool::new(false),
        }
    }

    /// Whether a question is our own, come back.
    pub(crate) fn is_probe(&self, name: &str) -> bool {
        let back = name == self.probe;
        if back && !self.looped.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the host's name servers in {} lead back to the cluster's: names outside of the cluster are not \
                 resolved until the file names others",
                self.file.display()
            );
        }
        back
    }

    /// The answer of the first server that gives one.
    pub(crate) async fn ask(&self, question: &Query, key: Key) -> Option<Message> {
        if let Some(kept) =
            self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&key, Instant::now())
        {
            return Some(kept);
        }
        let (list, first) = self.servers().await;
        if self.looped.load(Ordering::Relaxed) {
            return None;
        }
        for turn in 0..list.len() {
            let at = (first + turn) % list.len();
            match timeout(PATIENCE, exchange(list[at], question, key.2, key.3)).await {
                Ok(Ok(answer)) => {
                    self.servers.lock().unwrap_or_else(PoisonError::into_inner).first = at;
                    let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                    cache.put(key, &answer, Instant::now());
                    return Some(answer);
                }
                Ok(Err(error)) => tracing::debug!("{} does not answer: {error}", list[at]),
                Err(_) => tracing::debug!("{} does not answer in time", list[at]),
            }
        }
        None
    }

    /// The servers, read again where the file may have changed; new ones are first asked for what only we know.
    async fn servers(&self) -> (Vec<SocketAddr>, usize) {
        let now = Instant::now();
        {
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            if servers.looked.is_some_and(|looked| now < looked + LOOK) {
                return (servers.list.clone(), servers.first);
            }
            servers.looked = Some(now);
        }
        let text = match tokio::fs::read_to_string(&self.file).await {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!("{} is not read: {error}", self.file.display());
                String::new()
            }
        };
        let list = servers(&text, &self.own);
        let new = {
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            let new = servers.list != list;
            if new {
                *servers = Servers { looked: Some(now), list: list.clone(), first: 0 };
            }
            new
        };
        if new {
            self.looped.store(false, Ordering::Relaxed);
            self.look_for_loops(&list).await;
        }
        (list, 0)
    }

    async fn look_for_loops(&self, list: &[SocketAddr]) {
        let Ok(mut name) = Name::from_ascii(&self.probe) else { return };
        name.set_fqdn(true);
        let question = Query::query(name, RecordType::HINFO);
        for server in list {
            // The answer does not matter: the question does, if it comes back.
            if timeout(PATIENCE, exchange(*server, &question, false, false)).await.is_err() {
                tracing::debug!("{server} does not answer in time");
            }
        }
    }
}

/// A question with a number that nobody can guess.
fn ask(question: &Query, dnssec: bool, unchecked: bool) -> Message {
    let mut message = Message::query();
    message.metadata.id = rand::random();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = unchecked;
    message.add_query(question.clone());
    let mut edns = hickory_proto::op::Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(dnssec);
    message.set_edns(edns);
    message
}

fn answers(asked: &Message, answer: &Message) -> bool {
    let same = |a: &Query, b: &Query| {
        (a.query_type, a.query_class) == (b.query_type, b.query_class)
            && a.name.to_lowercase() == b.name.to_lowercase()
    };
    answer.metadata.id == asked.metadata.id
        && answer.queries.len() == 1
        && asked.queries.iter().zip(&answer.queries).all(|(a, b)| same(a, b))
}

/// One question to one server: by UDP, and what does not fit by TCP.
async fn exchange(
    server: SocketAddr,
    question: &Query,
    dnssec: bool,
    unchecked: bool,
) -> std::io::Result<Message> {
    debug_assert_eq!(question.query_class, DNSClass::IN);
    let asked = ask(question, dnssec, unchecked);
    let bytes = asked.to_vec().map_err(std::io::Error::other)?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own, by chance, for each question.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(&buffer[..length]) else { continue };
        if !answers(&asked, &answer) {
            continue;
        }
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        break;
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), &bytes[..]].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(std::io::Error::other)?;
    if answers(&asked, &answer) { Ok(answer) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_file() {
        let own = HashSet::from([IpAddr::from([10, 96, 0, 10])]);
        let text = "# nameserver 192.0.2.9\nsearch x\nnameserver 127.0.0.53\nnameserver 10.96.0.10\nnameserver ::1 # y\n\
                    nameserver fe80::1%eth0\nnameserver\n";
        let found: Vec<String> = servers(text, &own).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[::1]:53"]);
    }

    #[test]
    fn only_what_was_asked_is_answered() {
        let question = Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::A);
        let asked = ask(&question, false, false);
        let mut answer = asked.clone().into_response();
        answer.queries[0].name = Name::from_ascii("A.Example.").unwrap();
        assert!(answers(&asked, &answer));
        answer.metadata.id = answer.metadata.id.wrapping_add(1);
        assert!(!answers(&asked, &answer));
        let mut other = asked.clone();
        other.queries[0].name = Name::from_ascii("b.example.").unwrap();
        assert!(!answers(&asked, &other));
    }
}
