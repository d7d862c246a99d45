//! `minke image`: through the daemon if one runs, else directly on the data dir.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use images::Images;
use tokio::sync::mpsc;

use crate::config::{Config, absolute};
use crate::control::{self, Request};
use crate::instance::{self, Instance};
use crate::{DataDir, complain, say, wiring};

/// `minke image`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: DataDir,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Imports a docker-archive or OCI-archive file.
    Import {
        /// The archive; `-` is standard input.
        tar: PathBuf,
    },
    /// Pulls an image from its registry.
    Pull {
        /// Its name.
        reference: String,
        /// A registry tried instead of another, as HOST=URL.
        #[arg(long, value_parser = crate::config::mirror)]
        registry_mirror: Vec<(String, String)>,
    },
    /// Lists images.
    Ls,
    /// Removes an image.
    Rm {
        /// Its name or id.
        reference: String,
    },
}

/// Runs the command.
///
/// # Errors
/// What the image store or the registry says.
pub fn run(args: &Args) -> Result<()> {
    // Kept open until the answer: it has no name of its own.
    let mut input = None;
    let request = match &args.command {
        Command::Import { tar } if tar.as_os_str() == "-" => {
            let file = input.insert(spooled(&args.dir.data_dir).context("standard input")?);
            let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
            Request::ImageImport { path }
        }
        Command::Import { tar } => Request::ImageImport { path: absolute(tar)? },
        Command::Pull { reference, .. } => Request::ImagePull { reference: reference.clone() },
        Command::Ls => Request::ImageList,
        Command::Rm { reference } => Request::ImageRemove { reference: reference.clone() },
    };
    let answered = match instance::id_of(&args.dir.data_dir) {
        Ok(id) => {
            let run_dir = instance::run_dir(id);
            if control::answers(&run_dir) {
                refuse_mirrors(&args.command)?;
            }
            control::ask(&run_dir, &request, complain)?
        }
        // Importing and pulling make an instance; there is nothing to list or to remove without one.
        Err(error) if matches!(args.command, Command::Ls | Command::Rm { .. }) => return Err(error),
        Err(_) => None,
    };
    let lines = match answered {
        Some(lines) => lines,
        None => directly(args, request)?,
    };
    lines.iter().for_each(|line| say(line));
    Ok(())
}

/// An archive as people know it: what [`spooled`] made has only a name that says nothing.
fn shown(archive: &Path) -> String {
    if archive.starts_with("/proc") { "standard input".to_owned() } else { archive.display().to_string() }
}

/// Standard input as a file in the data dir that has no name, so that nothing of it can stay.
fn spooled(data_dir: &Path) -> Result<File> {
    instance::make_private_dir(data_dir)?;
    let path = data_dir.join(format!("import-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
    Ok(file)
}

/// A running daemon pulls as it was configured; a flag that it would not see must not be dropped silently.
fn refuse_mirrors(command: &Command) -> Result<()> {
    match command {
        Command::Pull { registry_mirror, .. } if !registry_mirror.is_empty() => {
            bail!(
                "a daemon runs on this data dir and pulls with its own mirrors: give --registry-mirror to `minke up`"
            )
        }
        _ => Ok(()),
    }
}

fn directly(args: &Args, request: Request) -> Result<Vec<String>> {
    let instance = Instance::open(&args.dir.data_dir)?;
    let mut config = Config::default();
    if let Command::Pull { registry_mirror, .. } = &args.command {
        for (host, url) in registry_mirror {
            config.registry_mirrors.entry(host.clone()).or_default().push(url.clone());
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let images = wiring::images(&instance, &config).await?;
        let (sender, mut receiver) = mpsc::channel::<String>(16);
        let show = tokio::spawn(async move {
            while let Some(line) = receiver.recv().await {
                complain(&line);
            }
        });
        let outcome = handle(&images, request, sender).await;
        show.await?;
        outcome
    })
}

/// Carries out an image request; the answer is what to print.
///
/// # Errors
/// What the image store or the registry says.
pub async fn handle(
    images: &Arc<Images>,
    request: Request,
    progress: mpsc::Sender<String>,
) -> Result<Vec<String>> {
    match request {
        Request::ImageImport { path } => {
            let imported = images.import(&path).await.with_context(|| shown(&path))?;
            Ok(imported.iter().map(|i| format!("{} {}", i.tags.first().unwrap_or(&i.id), i.id)).collect())
        }
        Request::ImagePull { reference } => {
            let _ = progress.send(format!("pulling {reference}")).await;
            let image = wiring::pull(images, &reference).await?;
            Ok(vec![format!("{reference} {}", image.id)])
        }
        Request::ImageList => Ok(table(&images.list()?)),
        Request::ImageRemove { reference } => {
            let kept = images.remove(&reference).await?.kept;
            let stay = format!("; {kept} of its layers stay until the containers that use them have ended");
            Ok(vec![format!("removed {reference}{}", if kept == 0 { "" } else { &stay })])
        }
        Request::Down | Request::TokenCreate { .. } => bail!("not a request about images"),
    }
}

fn table(all: &[images::Image]) -> Vec<String> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["IMAGE", "ID", "SIZE"]);
    for image in all {
        let names = if image.tags.is_empty() { image.digests.clone() } else { image.tags.clone() };
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        for name in if names.is_empty() { vec!["<none>".to_owned()] } else { names } {
            table.add_row([name, id.clone(), format!("{:.1} MB", image.size as f64 / 1e6)]);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}
