//! Questions in, answers out, by UDP and TCP.
//!
//! Invariants: whoever asks gets an answer or, for what is no question, nothing; what does not fit says so, and the
//! asker comes back by TCP; work under way is bounded, and what is too much is answered with `SERVFAIL`.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::DnsError;
use crate::forward::Forward;
use crate::zone::{Found, Zone};

/// Who reads questions by UDP at a time.
const READERS: usize = 2;
/// Questions that wait for other servers.
const ASKED: usize = 1024;
/// Connections at a time, and how long one may say nothing.
const CONNECTIONS: usize = 256;
const IDLE: Duration = Duration::from_secs(10);
/// Bytes of an answer by UDP: for those who do not say more, and at most (what no network breaks up).
const SHORT: u16 = 512;
const LONG: u16 = 1232;
/// How often a name may turn out to be another one.
const ALIASES: usize = 8;

/// Where questions arrive.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Listens at a port of an address; if it is somebody's already, at another one.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn bind(ip: IpAddr, port: u16) -> Result<Self, DnsError> {
        match Self::at(SocketAddr::new(ip, port)).await {
            Ok(sockets) => Ok(sockets),
            Err(_) => Self::at(SocketAddr::new(ip, 0)).await,
        }
    }

    async fn at(at: SocketAddr) -> Result<Self, DnsError> {
        let listen = async {
            let tcp = TcpListener::bind(at).await?;
            Ok(Self { udp: UdpSocket::bind(tcp.local_addr()?).await?, tcp })
        };
        listen.await.map_err(|source| DnsError::Listen { at, source })
    }

    /// Where they are.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

/// See the module.
pub(crate) struct Server {
    zone: RwLock<Zone>,
    forward: Forward,
    asked: Semaphore,
    /// Turns the order of addresses, so that who takes the first one takes each in turn.
    turn: AtomicUsize,
}

/// What came of a question so far.
enum Answer {
    Ready(Vec<u8>),
    /// To be asked elsewhere.
    Asks(Box<Message>, String),
    /// No question.
    Silence,
}

impl Server {
    pub(crate) fn new(zone: Zone, forward: Forward) -> Self {
        let asked = Semaphore::new(ASKED);
        Self { zone: RwLock::new(zone), forward, asked, turn: AtomicUsize::new(0) }
    }

    /// Changes the names.
    pub(crate) fn learn(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn find(&self, name: &str, kind: hickory_proto::rr::RecordType) -> Found {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).find(name, kind)
    }

    /// Begins to answer.
    pub(crate) fn listen(self: Arc<Self>, sockets: Sockets, tasks: &mut JoinSet<()>) {
        let udp = Arc::new(sockets.udp);
        for _ in 0..READERS {
            tasks.spawn(self.clone().datagrams(udp.clone()));
        }
        tasks.spawn(self.connections(sockets.tcp));
    }

    async fn datagrams(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; 4096];
        let mut asked = JoinSet::new();
        loop {
            while asked.try_join_next().is_some() {}
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An earlier answer reached nobody.
                Err(error) => {
                    tracing::debug!("dns: {error}");
                    continue;
                }
            };
            match self.answer(&buffer[..length], None) {
                Answer::Silence => {}
                Answer::Ready(bytes) => send(&socket, &bytes, from).await,
                Answer::Asks(question, name) => {
                    let (server, socket) = (self.clone(), socket.clone());
                    asked.spawn(async move {
                        let bytes = server.ask(&question, name, None).await;
                        send(&socket, &bytes, from).await;
                    });
                }
            }
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener) {
        let mut open = JoinSet::new();
        loop {
            while open.try_join_next().is_some() || open.len() >= CONNECTIONS {
                if open.len() >= CONNECTIONS {
                    open.join_next().await;
                }
            }
            match listener.accept().await {
                Ok((stream, _)) => _ = open.spawn(self.clone().connection(stream)),
                Err(error) => {
                    tracing::warn!("dns: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        let served = async {
            loop {
                let length = timeout(IDLE, stream.read_u16()).await??;
                let mut question = vec![0; usize::from(length)];
                timeout(IDLE, stream.read_exact(&mut question)).await??;
                let bytes = match self.answer(&question, Some(u16::MAX)) {
                    Answer::Silence => return Ok::<(), std::io::Error>(()),
                    Answer::Ready(bytes) => bytes,
                    Answer::Asks(question, name) => self.ask(&question, name, Some(u16::MAX)).await,
                };
                let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
                timeout(IDLE, stream.write_all(&[&length.to_be_bytes(), &bytes[..]].concat())).await??;
            }
        };
        if let Err(error) = served.await {
            tracing::trace!("dns: a connection ended: {error}");
        }
    }

    /// What can be said at once. `limit` is the longest answer where the question does not say.
    fn answer(&self, bytes: &[u8], limit: Option<u16>) -> Answer {
        let Ok(question) = Message::from_vec(bytes) else { return unreadable(bytes) };
        if question.metadata.message_type != MessageType::Query {
            return Answer::Silence;
        }
        let refuse = |code| Answer::Ready(encode(reply(&question, code), &question, limit));
        if question.metadata.op_code != OpCode::Query {
            return refuse(ResponseCode::NotImp);
        }
        let [query] = &question.queries[..] else { return refuse(ResponseCode::FormErr) };
        if query.query_class != DNSClass::IN {
            return refuse(ResponseCode::Refused);
        }
        let name = plain(&query.name.to_ascii());
        if self.forward.is_probe(&name) {
            return refuse(ResponseCode::Refused);
        }
        let mut answer = reply(&question, ResponseCode::NoError);
        answer.metadata.authoritative = true;
        match self.find(&name, query.query_type) {
            Found::Outside => return Answer::Asks(Box::new(question), name),
            Found::Alias { record, target } => {
                answer.answers.push(*record);
                if !self.chase(&mut answer, target, query.query_type) {
                    return Answer::Asks(Box::new(question), name);
                }
            }
            Found::Unknown => return refuse(ResponseCode::ServFail),
            other => self.fill(&mut answer, other),
        }
        Answer::Ready(encode(answer, &question, limit))
    }

    /// Fills in what the zone knows.
    fn fill(&self, answer: &mut Message, found: Found) {
        match found {
            Found::Records { mut answers, additionals } => {
                if answers.len() > 1 {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % answers.len();
                    answers.rotate_left(turn);
                }
                answer.answers.extend(answers);
                answer.additionals.extend(additionals);
            }
            Found::NoName | Found::Nothing => {
                if found == Found::NoName {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
                answer.authorities.push(zone.authority());
            }
            Found::Alias { .. } | Found::Outside | Found::Unknown => {}
        }
    }

    /// Follows an alias as far as the cluster's names go; false where it leads outside.
    fn chase(&self, answer: &mut Message, target: String, kind: hickory_proto::rr::RecordType) -> bool {
        let mut next = target;
        for _ in 0..ALIASES {
            match self.find(&next, kind) {
                Found::Outside => return false,
                Found::Alias { record, target } => {
                    answer.answers.push(*record);
                    next = target;
                }
                Found::Unknown => return true,
                found => {
                    self.fill(answer, found);
                    return true;
                }
            }
        }
        true
    }

    /// What others say of a name, or of the one that it leads to.
    async fn ask(&self, question: &Message, name: String, limit: Option<u16>) -> Vec<u8> {
        let mut answer = reply(question, ResponseCode::ServFail);
        let Some(mut query) = question.queries.first().cloned() else {
            return encode(answer, question, limit);
        };
        let mut aliases = Vec::new();
        let mut target = name;
        while let Found::Alias { record, target: next } = self.find(&target, query.query_type) {
            if aliases.len() == ALIASES {
                break;
            }
            if let RData::CNAME(alias) = &record.data {
                query.name = alias.0.clone();
            }
            aliases.push(*record);
            target = next;
        }
        let dnssec = question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let key = (target, query.query_type, dnssec, question.metadata.checking_disabled);
        let said = match self.asked.try_acquire() {
            Ok(_permit) => self.forward.ask(&query, key).await,
            Err(_) => None,
        };
        if let Some(said) = said {
            answer.metadata.response_code = said.metadata.response_code;
            answer.metadata.authentic_data = said.metadata.authentic_data && aliases.is_empty();
            answer.answers = aliases;
            answer.answers.extend(said.answers);
            answer.authorities = said.authorities;
            answer.additionals = said.additionals;
        }
        encode(answer, question, limit)
    }
}

/// A name as the zone knows it.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn reply(question: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&question.metadata);
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.queries.clone_from(&question.queries);
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LONG);
        answer.set_edns(edns);
    }
    answer
}

/// To what is too damaged to read, but is a question.
fn unreadable(bytes: &[u8]) -> Answer {
    // The header is 12 bytes; the first bit of the third says that it is an answer.
    let Some(&[high, low, flags, ..]) = bytes.first_chunk::<12>() else { return Answer::Silence };
    if flags & 0x80 != 0 {
        return Answer::Silence;
    }
    let id = u16::from_be_bytes([high, low]);
    let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    message.to_vec().map_or(Answer::Silence, Answer::Ready)
}

/// The bytes of an answer; what is too long for its way is left out, and said to be.
fn encode(mut answer: Message, question: &Message, limit: Option<u16>) -> Vec<u8> {
    let said = question.edns.as_ref().map_or(SHORT, Edns::max_payload);
    let limit = usize::from(limit.unwrap_or_else(|| said.clamp(SHORT, LONG)));
    // An answer's own OPT is in `edns`.
    let of_message = |record: &Record| !matches!(record.data, RData::OPT(_));
    answer.additionals.retain(of_message);
    match answer.to_vec() {
        Ok(bytes) if bytes.len() <= limit => return bytes,
        Ok(_) => {}
        Err(error) => {
            tracing::debug!("dns: an answer cannot be written: {error}");
            answer = reply(question, ResponseCode::ServFail);
            return answer.to_vec().unwrap_or_default();
        }
    }
    // First what was not asked for.
    answer.additionals.clear();
    if let Ok(bytes) = answer.to_vec()
        && bytes.len() <= limit
    {
        return bytes;
    }
    answer.answers.clear();
    answer.authorities.clear();
    answer.metadata.truncation = true;
    answer.to_vec().unwrap_or_default()
}

async fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, to).await {
        tracing::debug!("dns: no answer to {to}: {error}");
    }
}

#[cfg(test)]
mod tests;
