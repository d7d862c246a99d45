//! The API server alone, for trying it with kubectl: `cargo run -p apiserver --example serve -- DIR ADDR:PORT`.
//! Writes `DIR/kubeconfig`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use apiserver::{Config, Pki, Server};
use store::{Options, SqliteStore};
use tokio::net::TcpListener;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: serve DIR ADDR:PORT")?);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:6443".into());
    std::fs::create_dir_all(&dir)?;
    let listener = TcpListener::bind(&address).await?;
    let local = listener.local_addr()?;
    let pki = Pki::open(&dir.join("pki"), &[], &[local.ip()])?;
    let kubeconfig = pki.admin_kubeconfig(&format!("https://{local}"), "minke")?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(dir.join("kubeconfig"))?;
    file.write_all(kubeconfig.as_bytes())?;
    let store = SqliteStore::open(&dir.join("store.db"), Options::default(), apiserver::read_facts())?;
    let server = Server::new(Config::new(store, pki));
    server.bootstrap().await?;
    server.serve(vec![listener], async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}
