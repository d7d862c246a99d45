//! `minke ls`: the instances of this machine, those of whose daemon nothing is left but Pods too.

use anyhow::Result;
use base::time::Timestamp;

use crate::instance::record::{self, Made, Record};
use crate::instance::seen_holder;
use crate::say;

/// Prints a line for each instance of which something may run.
///
/// # Errors
/// If the records of instances cannot be read.
pub fn run() -> Result<()> {
    let rows: Vec<[String; 5]> = record::all()?.iter().map(|(id, record)| row(*id, record)).collect();
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["ID", "STATE", "PID", "SINCE", "DATA DIR"]);
    table.add_rows(rows);
    table.lines().for_each(|line| say(line.trim_end()));
    Ok(())
}

fn row(id: u32, record: &Record) -> [String; 5] {
    let dir = record.data_dir.display().to_string();
    let none = || "-".to_owned();
    let (state, pid, since) = match seen_holder(&record.data_dir).filter(|_| record.is_of(id)) {
        Some(pid) => ("running", pid.to_string(), Timestamp::from_seconds(record.since).rfc3339()),
        None if record.is_of(id) => ("no daemon", none(), none()),
        None => ("no data", none(), none()),
    };
    let made = if record.made == Made::Play { " (play)" } else { "" };
    [format!("{id:08x}"), format!("{state}{made}"), pid, since, dir]
}
