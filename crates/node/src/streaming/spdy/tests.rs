//! Frames through codec and connection; a client's end for other tests.

use proptest::prelude::*;
use tokio::io::DuplexStream;

use super::*;

/// A client's end of a connection, for tests.
pub(in crate::streaming) struct Client<T> {
    io: T,
    decoder: Decoder,
    encoder: Encoder,
    buffer: BytesMut,
    next: u32,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub(in crate::streaming) fn new(io: T) -> Self {
        Self { io, decoder: Decoder::new(), encoder: Encoder::new(), buffer: BytesMut::new(), next: 1 }
    }

    pub(in crate::streaming) async fn send(&mut self, frame: Frame) {
        let mut out = BytesMut::new();
        self.encoder.encode(&frame, &mut out).unwrap();
        self.io.write_all(&out).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub(in crate::streaming) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next;
        self.next += 2;
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.send(Frame::Open { stream, headers, fin: false }).await;
        stream
    }

    pub(in crate::streaming) async fn data(&mut self, stream: u32, data: &[u8], fin: bool) {
        self.send(Frame::Data { stream, fin, data: Bytes::copy_from_slice(data) }).await;
    }

    /// The next frame that is no reply; `None` at the end.
    pub(in crate::streaming) async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.decode(&mut self.buffer).unwrap() {
                Some(Frame::Reply { .. }) => (),
                Some(frame) => return Some(frame),
                None if self.io.read_buf(&mut self.buffer).await.unwrap() == 0 => return None,
                None => (),
            }
        }
    }

    /// Everything up to the end, by stream; whether each was finished.
    pub(in crate::streaming) async fn collect(&mut self) -> std::collections::BTreeMap<u32, (Vec<u8>, bool)> {
        let mut all = std::collections::BTreeMap::<u32, (Vec<u8>, bool)>::new();
        while let Some(frame) = self.next().await {
            if let Frame::Data { stream, fin, data } = frame {
                let entry = all.entry(stream).or_default();
                entry.0.extend_from_slice(&data);
                entry.1 |= fin;
            }
        }
        all
    }
}

fn pair() -> (Connection, Client<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    (Connection::serve(ours), Client::new(theirs))
}

#[tokio::test]
async fn streams_are_answered_carry_data_and_end() {
    let (mut connection, mut client) = pair();
    let id = client.open(&[("streamtype", "stdin")]).await;
    client.data(id, b"hello", false).await;
    client.data(id, b" world", true).await;
    let mut stream = connection.accept().await.unwrap();
    assert_eq!(stream.headers["streamtype"], "stdin");
    let mut got = Vec::new();
    while let Some(data) = stream.input.recv().await {
        got.extend_from_slice(&data);
    }
    assert_eq!(got, b"hello world");
    stream.output.data(Bytes::from_static(b"answer")).await.unwrap();
    stream.output.finish().await.unwrap();
    drop(stream);
    let closing = tokio::spawn(connection.close());
    assert_eq!(client.collect().await[&id], (b"answer".to_vec(), true));
    drop(client);
    closing.await.unwrap();
}

#[tokio::test]
async fn pings_are_answered_and_odd_frames_survived() {
    let (mut connection, mut client) = pair();
    client.send(Frame::Ping(7)).await;
    assert_eq!(client.next().await, Some(Frame::Ping(7)));
    // A data frame for no stream, a reset of none, a stream with the server's kind of number.
    client.data(99, b"x", true).await;
    client.send(Frame::Reset { stream: 99, code: 1 }).await;
    client.send(Frame::Open { stream: 2, headers: Headers::new(), fin: false }).await;
    assert_eq!(client.next().await, Some(Frame::Reset { stream: 2, code: REFUSED_STREAM }));
    // SETTINGS with one entry, then WINDOW_UPDATE.
    client.io.write_all(b"\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x07\0\0\x10\0").await.unwrap();
    client.io.write_all(b"\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\0\0\x10\0").await.unwrap();
    let id = client.open(&[]).await;
    let mut stream = connection.accept().await.unwrap();
    client.send(Frame::Reset { stream: id, code: CANCEL }).await;
    assert!(stream.input.recv().await.is_none());
    drop(client);
    assert!(connection.accept().await.is_none());
}

#[tokio::test]
async fn a_damaged_connection_ends() {
    for bytes in [
        &b"\x80\x02\0\x01\0\0\0\0"[..],
        b"\x80\x03\0\x63\0\0\0\0",
        b"\x80\x03\0\x01\0\0\0\x01x",
        b"\0\0\0\x01\0\xff\xff\xff",
    ] {
        let (mut connection, mut client) = pair();
        client.io.write_all(bytes).await.unwrap();
        assert!(connection.accept().await.is_none(), "{bytes:?}");
    }
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let headers = || proptest::collection::btree_map("[a-z-]{1,12}", "[ -~]{0,40}", 0..5);
    let id = || 1..ID_MAX;
    let frame = prop_oneof![
        (id(), headers(), any::<bool>()).prop_map(|(stream, headers, fin)| Frame::Open {
            stream,
            headers,
            fin
        }),
        (id(), headers()).prop_map(|(stream, headers)| Frame::Reply { stream, headers }),
        (id(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(stream, fin, data)| Frame::Data { stream, fin, data: data.into() }),
        (id(), any::<u32>()).prop_map(|(stream, code)| Frame::Reset { stream, code }),
        any::<u32>().prop_map(Frame::Ping),
        Just(Frame::GoAway),
    ];
    proptest::collection::vec(frame, 0..20)
}

const ID_MAX: u32 = 0x7fff_ffff;

proptest! {
    #[test]
    fn frames_survive_any_cut(frames in frames(), cuts in proptest::collection::vec(1_usize..50, 1..20)) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut wire = BytesMut::new();
        for frame in &frames {
            encoder.encode(frame, &mut wire).unwrap();
        }
        let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
        let mut cuts = cuts.iter().cycle();
        while !wire.is_empty() {
            let n = wire.len().min(*cuts.next().unwrap());
            buffer.extend_from_slice(&wire.split_to(n));
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut buffer = BytesMut::from(&bytes[..]);
        let mut decoder = Decoder::new();
        while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
    }
}
