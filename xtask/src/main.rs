//! `cargo xtask`: the project's own commands. Each does one thing that CI or a developer needs.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{bench, ci, schema, sim, tidy};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Exactly what CI runs, or only the named stages.
    Ci {
        /// Stages to run; all if none is named.
        stages: Vec<String>,
    },
    /// Checks crate edges, licences, bans and source headers.
    Tidy,
    /// Plays the hello Job with the shipped binary.
    Run,
    /// Runs the program on a pure cgroup v2 kernel under qemu, and the store through power cuts.
    Vm {
        /// Cases to run; all if none is named.
        cases: Vec<String>,
    },
    /// Measures how fast and how small the shipped binary is, or one part by itself.
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(subcommand)]
        part: Option<Part>,
        /// The program to measure [default: dist/minke, which `make` builds].
        program: Option<PathBuf>,
        /// Prints JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Runs seeded worlds of controllers, scheduler and nodes in which everything that can fail does.
    Sim {
        /// How many.
        #[arg(long, default_value_t = 300)]
        worlds: u64,
        /// Only the one of this seed.
        #[arg(long)]
        seed: Option<u64>,
        /// Built with optimisation, which is worth it for thousands.
        #[arg(long)]
        release: bool,
    },
    /// Derives the schema table.
    Schema {
        /// Compares the committed table with its sources.
        #[arg(long)]
        check: bool,
    },
}

/// What can be measured by itself.
#[derive(Subcommand)]
enum Part {
    /// How many Pods a second the scheduler binds, by upstream's workloads.
    Scheduler {
        /// Divides the numbers of nodes and Pods.
        #[arg(long, default_value_t = 1)]
        scale: usize,
        /// Workloads to run; all if none is named.
        workloads: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Ci { stages } => ci::run_stages(&stages),
        Command::Tidy => tidy::check(),
        Command::Run => xtask::demo::run(),
        Command::Vm { cases } => xtask::vm::run(&cases),
        Command::Bench { part: Some(Part::Scheduler { scale, workloads }), .. } => {
            bench::scheduler(scale, &workloads)
        }
        Command::Bench { part: None, program, json } => bench::run(program.as_deref(), json),
        Command::Sim { worlds, seed, release } => sim::run(worlds, seed, release),
        Command::Schema { check } => schema::run(check),
    }
}
