//! The probes against small real servers on loopback.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Outcome, http, tcp};

const LIMIT: Duration = Duration::from_secs(20);

/// A server that gives each connection the next answer; returns its port.
async fn server(answers: Vec<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = [0; 2048];
            let _ = stream.read(&mut buffer).await;
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    port
}

fn get(port: u16) -> http::Get {
    http::Get {
        scheme: "HTTP".into(),
        host: "127.0.0.1".into(),
        port,
        path: "/x?y=z".into(),
        user_agent: "kube-probe/1.36".into(),
        ..http::Get::default()
    }
}

#[tokio::test]
async fn http_answers() {
    for (answers, want) in [
        (vec!["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"], Outcome::Success),
        (
            vec!["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"],
            Outcome::Failure("HTTP probe failed with statuscode: 500".into()),
        ),
        (
            vec![
                "HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ],
            Outcome::Success,
        ),
        (
            vec!["HTTP/1.1 302 Found\r\nlocation: http://elsewhere.test/\r\ncontent-length: 3\r\n\r\nbye"],
            Outcome::Warning("Probe terminated redirects, Response body: bye".into()),
        ),
    ] {
        let port = server(answers).await;
        assert_eq!(http::probe(&get(port), LIMIT).await, want);
    }
}

#[tokio::test]
async fn nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("an address").port();
    assert_eq!(tcp::probe("127.0.0.1", port, LIMIT).await, Outcome::Success);
    drop(free);
    let words = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(tcp::probe("127.0.0.1", port, LIMIT).await, Outcome::Failure(words.clone()));
    let want = Outcome::Failure(format!("Get \"http://127.0.0.1:{port}/x?y=z\": {words}"));
    assert_eq!(http::probe(&get(port), LIMIT).await, want);
}

#[tokio::test]
async fn a_hook_that_meets_a_plain_server_goes_there_plainly() {
    const PLAIN: &str = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let port = server(vec![PLAIN, PLAIN, PLAIN]).await;
    let secure = http::Get { scheme: "HTTPS".into(), ..get(port) };
    assert!(http::hook(&secure, LIMIT).await.expect("an answer"), "the second try was plain");
    assert!(!http::hook(&get(port), LIMIT).await.expect("an answer"), "so was the first");
    assert!(http::hook(&secure, LIMIT).await.is_err(), "nobody listens any more");
}
