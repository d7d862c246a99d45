//! exec and attach over SPDY: one stream per purpose, told apart by the header `streamtype`.
//!
//! Invariant: nothing runs before all streams the options ask for are there.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::remote::{Input, Output, Sizes, Verdict};
use super::spdy::{Connection, Stream};
use super::{Options, Remote};

/// `streaming.DefaultConfig`'s StreamCreationTimeout.
const CREATION: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    fn complete(&self, options: &Options, resizes: bool) -> bool {
        let has = |wanted: bool, stream: &Option<Stream>| !wanted || stream.is_some();
        self.error.is_some()
            && has(options.stdin, &self.stdin)
            && has(options.stdout, &self.stdout)
            && has(options.stderr, &self.stderr)
            && has(options.tty && resizes, &self.resize)
    }

    async fn collect(connection: &mut Connection, options: &Options, resizes: bool) -> Option<Self> {
        let mut streams = Self::default();
        while !streams.complete(options, resizes) {
            let stream = connection.accept().await?;
            match stream.headers.get("streamtype").map(String::as_str) {
                Some("error") => streams.error = Some(stream),
                Some("stdin") => streams.stdin = Some(stream),
                Some("stdout") => streams.stdout = Some(stream),
                Some("stderr") => streams.stderr = Some(stream),
                Some("resize") => streams.resize = Some(stream),
                other => {
                    tracing::debug!(streamtype = ?other, "unknown stream");
                    stream.output.reset().await.ok()?;
                }
            }
        }
        Some(streams)
    }
}

pub(super) async fn remote(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    protocol: &'static str,
    remote: Remote,
) {
    let mut connection = Connection::serve(io);
    let resizes = matches!(protocol, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let collecting = Streams::collect(&mut connection, &remote.options, resizes);
    let Ok(Some(streams)) = tokio::time::timeout(CREATION, collecting).await else {
        tracing::debug!("timed out waiting for client to create streams");
        return connection.close().await;
    };
    let Streams { error, stdin, stdout, stderr, resize } = streams;
    let (input, of_client) = mpsc::channel(4);
    let (to_client, output) = mpsc::channel(4);
    let outputs = [&stdout, &stderr].map(|stream| stream.as_ref().map(|s| s.output.clone()));
    let error_output = error.as_ref().map(|s| s.output.clone());
    let receiving = async { tokio::join!(take_stdin(stdin, &input), take_sizes(resize, &input)) };
    // Streams nobody asked for are held but not read; the end of the connection is what matters.
    let gone = async { while connection.accept().await.is_some() {} };
    let sending = give(output, outputs, error_output, protocol == "v4.channel.k8s.io");
    let session = remote.run(of_client, to_client);
    tokio::select! {
        () = gone => (),
        _ = async { receiving.await; std::future::pending::<()>().await } => (),
        ((), ()) = async { tokio::join!(session, sending) } => (),
    }
    drop((error, stdout, stderr));
    connection.close().await;
}

async fn take_stdin(stream: Option<Stream>, input: &mpsc::Sender<Input>) {
    let Some(mut stream) = stream else { return };
    while let Some(data) = stream.input.recv().await {
        if input.send(Input::Stdin(data)).await.is_err() {
            return;
        }
    }
    // If the session is over, nobody cares.
    let _ = input.send(Input::StdinEnd).await;
}

async fn take_sizes(stream: Option<Stream>, input: &mpsc::Sender<Input>) {
    let Some(mut stream) = stream else { return };
    let mut sizes = Sizes::default();
    while let Some(data) = stream.input.recv().await {
        for (columns, rows) in sizes.push(&data) {
            if input.send(Input::Resize(columns, rows)).await.is_err() {
                return;
            }
        }
    }
}

/// Sends output, then the verdict, each stream ended properly. Ends early if the client is gone.
async fn give(
    mut output: mpsc::Receiver<Output>,
    streams: [Option<super::spdy::Output>; 2],
    error: Option<super::spdy::Output>,
    as_status: bool,
) {
    while let Some(next) = output.recv().await {
        let (to, data) = match next {
            Output::Stdout(data) => (&streams[0], data),
            Output::Stderr(data) => (&streams[1], data),
            Output::End(verdict) => return end(&verdict, &streams, error.as_ref(), as_status).await,
        };
        if let Some(to) = to
            && to.data(data).await.is_err()
        {
            return;
        }
    }
}

async fn end(
    verdict: &Verdict,
    streams: &[Option<super::spdy::Output>; 2],
    error: Option<&super::spdy::Output>,
    as_status: bool,
) {
    let finish = async {
        for stream in streams.iter().flatten() {
            stream.finish().await?;
        }
        if let Some(error) = error {
            let text = verdict.bytes(as_status).unwrap_or_default();
            if !text.is_empty() {
                error.data(text).await?;
            }
            error.finish().await?;
        }
        Ok::<_, super::spdy::Gone>(())
    };
    if finish.await.is_err() {
        tracing::debug!("the client left before the verdict");
    }
}
