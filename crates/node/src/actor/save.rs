//! What of a Pod outlives the daemon: `pod.json` and `memory.json` in its directory.
//!
//! Invariants: what is wanted on disk stays wanted until it is there; a write that failed is tried again with a growing
//! pause, never in a loop. Absent: reading them (the actor's start, the manager's orphans).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use lifecycle::{Memory, Time};

use crate::files::{self, Writer};

/// After a first failure, doubled up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// One Pod's files.
#[derive(Default)]
pub(super) struct Saver {
    dir: PathBuf,
    /// Of the Pod that was wanted last.
    generation: Option<i64>,
    /// Not on disk yet.
    pod: Option<Arc<Pod>>,
    memory: Option<Vec<u8>>,
    /// The memory that is.
    saved: Vec<u8>,
    pause: Duration,
    again_at: Time,
}

impl Saver {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, ..Self::default() }
    }

    /// What shall be on disk; a memory only where it changed.
    pub(super) fn want(&mut self, pod: &Arc<Pod>, memory: Option<&Memory>) {
        let generation = pod.metadata.generation.or(Some(0));
        // A deletion counts a generation too, but changes nothing that a new daemon would need of this file.
        let deletion = self.generation.is_some() && pod.metadata.deletion_timestamp.is_some();
        if self.generation != generation && !deletion {
            self.generation = generation;
            self.pod = Some(pod.clone());
        }
        let Some(memory) = memory else { return };
        match serde_json::to_vec(memory) {
            // Not everything that changes in memory is kept.
            Ok(json) if json == self.saved => self.memory = None,
            Ok(json) => self.memory = Some(json),
            Err(e) => tracing::error!("{}: the Pod's memory is no JSON: {e}", self.dir.display()),
        }
    }

    /// Writes what is not there yet, unless it failed a moment ago.
    pub(super) async fn save(&mut self, now: Time, writer: &Writer) {
        if (self.pod.is_none() && self.memory.is_none()) || now < self.again_at {
            return;
        }
        let (dir, pod, memory) = (self.dir.clone(), self.pod.clone(), self.memory.clone());
        let written = writer.run(move || {
            std::fs::create_dir_all(&dir)?;
            if let Some(pod) = pod {
                files::replace(&dir.join("pod.json"), &serde_json::to_vec(&*pod)?, 0o600)?;
            }
            memory.map_or(Ok(()), |json| files::replace(&dir.join("memory.json"), &json, 0o600))
        });
        match written.await {
            Ok(()) => {
                self.pod = None;
                self.saved = self.memory.take().unwrap_or(std::mem::take(&mut self.saved));
                (self.pause, self.again_at) = (Duration::ZERO, Time::default());
            }
            Err(e) => {
                self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
                self.again_at = now.plus(self.pause);
                let (dir, pause) = (self.dir.display(), self.pause);
                tracing::error!("the state of a Pod in {dir} is not written, again in {pause:?}: {e}");
            }
        }
    }

    /// How long until what failed is tried again.
    pub(super) fn again_in(&self, now: Time) -> Option<Duration> {
        (!self.pause.is_zero())
            .then(|| Duration::from_nanos(u64::try_from(self.again_at.0 - now.0).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_failed_is_tried_again_until_it_holds() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, obstacle) = (temp.path().join("in/the/way"), temp.path().join("in"));
        std::fs::write(&obstacle, "a file").unwrap();
        let (writer, mut saver) = (Writer::default(), Saver::new(dir.clone()));
        let memory = Memory { initialized: Some("s".into()), ..Memory::default() };
        saver.want(&Arc::default(), Some(&memory));
        let mut now = Time::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            saver.save(now, &writer).await;
            let pause = saver.again_in(now).unwrap();
            saver.save(now, &writer).await;
            assert_eq!(saver.again_in(now), Some(pause), "not tried before its time");
            pauses.push(pause);
            now = now.plus(pause);
        }
        assert_eq!((pauses[0], pauses[1], pauses[9]), (FIRST, FIRST * 2, LONGEST));
        std::fs::remove_file(&obstacle).unwrap();
        saver.save(now, &writer).await;
        assert_eq!(saver.again_in(now), None);
        let kept: Memory = serde_json::from_slice(&std::fs::read(dir.join("memory.json")).unwrap()).unwrap();
        assert_eq!(kept, memory);
        assert!(dir.join("pod.json").exists());
    }
}
