//! Progress of a pull or import, for whoever wants to show it.
//!
//! Reports may come from several threads at once and are not ordered between layers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Something happened to a layer, named by the digest in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// It is in the store already.
    Exists {
        /// Its digest.
        layer: &'a str,
    },
    /// Bytes came.
    Downloaded {
        /// Its digest.
        layer: &'a str,
        /// Compressed bytes so far.
        done: u64,
        /// Compressed bytes in all.
        total: u64,
    },
    /// It is in the store now.
    Unpacked {
        /// Its digest.
        layer: &'a str,
    },
}

/// Receives progress; must not block.
pub type Reporter = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// Drops all reports.
#[must_use]
pub fn silent() -> Reporter {
    Arc::new(|_| ())
}

/// One bar for each layer on stderr; nothing if that is no terminal.
#[must_use]
pub fn terminal() -> Reporter {
    let all = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:12} {wide_bar} {bytes:>11}/{total_bytes:11} {msg}")
        .expect("the template is a constant that parses");
    let bars: Mutex<HashMap<String, ProgressBar>> = Mutex::new(HashMap::new());
    Arc::new(move |progress| {
        let (Progress::Exists { layer } | Progress::Downloaded { layer, .. } | Progress::Unpacked { layer }) =
            progress;
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(layer.to_owned()).or_insert_with(|| {
            let bar = all.add(ProgressBar::new(0).with_style(style.clone()));
            let hex = layer.split_once(':').map_or(layer, |(_, hex)| hex);
            bar.set_prefix(hex.chars().take(12).collect::<String>());
            bar
        });
        match progress {
            Progress::Exists { .. } => bar.finish_with_message("already here"),
            Progress::Downloaded { done, total, .. } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Progress::Unpacked { .. } => bar.finish_with_message("unpacked"),
        }
    })
}
