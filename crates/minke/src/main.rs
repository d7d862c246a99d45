//! `minke`: Kubernetes Pods in one program. This file is the command line only; each command has a file of its own.
//!
//! Invariant: what a command prints on stdout is for people or pipes, everything else goes to stderr. Absent: logic.

mod apply;
mod check;
mod config;
mod control;
mod down;
mod host;
mod image;
mod instance;
mod join;
mod kubeconfig;
mod ls;
mod memory;
mod play;
mod token;
mod up;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Kubernetes Pods in one small program.
#[derive(Debug, Parser)]
#[command(name = "minke", version, about)]
struct Cli {
    /// How log lines on stderr look.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a cluster on this machine until it is told to stop; its Pods live on.
    Up(up::Args),
    /// Runs this machine as a node of a cluster whose API server is elsewhere; its Pods live on.
    Node(join::Args),
    /// Works with the tokens by which other machines join.
    Token(token::Args),
    /// Ends all Pods gracefully, then the daemon, and removes everything of the instance but its data.
    Down(DataDir),
    /// Runs manifests in a throwaway instance and ends with them.
    Play(play::Args),
    /// Lists the instances of this machine.
    Ls,
    /// Works with images.
    Image(image::Args),
    /// Says what this kernel and these privileges offer.
    Check(DataDir),
    /// Prints the version.
    Version,
}

/// The instance that a command means.
#[derive(Debug, clap::Args)]
struct DataDir {
    /// Where everything of the instance is kept.
    #[arg(long, global = true, default_value = "/var/lib/minke")]
    data_dir: PathBuf,
}

fn main() -> ExitCode {
    memory::limit_arenas();
    host::set_umask();
    let cli = Cli::parse();
    log_to_stderr(cli.log_format);
    let outcome = match cli.command {
        Command::Up(args) => as_root("up").and_then(|()| up::run(&args)),
        Command::Node(args) => as_root("node").and_then(|()| join::run(&args)),
        Command::Token(args) => token::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Down(dir) => {
            as_root("down").and_then(|()| down::run(&dir.data_dir)).map(|()| ExitCode::SUCCESS)
        }
        Command::Play(args) => as_root("play").and_then(|()| play::run(&args)),
        Command::Ls => as_root("ls").and_then(|()| ls::run()).map(|()| ExitCode::SUCCESS),
        Command::Image(args) => image::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(dir) => check::run(&dir.data_dir),
        Command::Version => {
            say(&format!("minke {} (Kubernetes v1.36.2)", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("minke: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Namespaces, mounts and links need root; saying so first beats the first system call that is refused.
fn as_root(command: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "`minke {command}` needs root, for namespaces, mounts and links: run it with sudo"
    );
    Ok(())
}

/// A line on stdout. A closed pipe is the reader's choice, not an error.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on stderr.
fn complain(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn log_to_stderr(format: LogFormat) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let wanted = std::env::var("MINKE_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(tracing::Level::WARN));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => registry.with(layer).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
}
