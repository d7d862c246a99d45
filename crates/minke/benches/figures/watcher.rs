//! The Pods as a watch shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Change, Watch};
use serde_json::Value;

/// How long to wait for anything at most.
const CEILING: Duration = Duration::from_secs(60);

/// A watch and what it has shown.
pub struct Pods {
    watch: Box<dyn Watch>,
    phases: BTreeMap<String, String>,
}

impl Pods {
    /// From the beginning of a watch that starts with what is there.
    pub fn new(watch: Box<dyn Watch>) -> Self {
        Self { watch, phases: BTreeMap::new() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.phases.len()
    }

    /// How many are Running.
    pub fn running(&self) -> usize {
        self.phases.values().filter(|phase| *phase == "Running").count()
    }

    /// Takes events until the condition holds.
    pub async fn until(&mut self, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let waiting = async {
            loop {
                for event in self.watch.next().await? {
                    self.take(event)?;
                }
                if holds(self) {
                    return Ok::<(), anyhow::Error>(());
                }
            }
        };
        match tokio::time::timeout(CEILING, waiting).await {
            Ok(outcome) => outcome.context("the watch"),
            Err(_) => bail!("after {} s the Pods are: {:?}", CEILING.as_secs(), self.phases),
        }
    }

    fn take(&mut self, event: client::WatchEvent) -> Result<()> {
        let Some(object) = event.object else { return Ok(()) };
        if event.change == Change::Deleted {
            self.phases.remove(&*object.name);
            return Ok(());
        }
        let pod: Value = object.parse()?;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        self.phases.insert(object.name.to_string(), phase.to_owned());
        Ok(())
    }
}
