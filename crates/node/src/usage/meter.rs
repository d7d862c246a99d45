//! Use of CPU over time, of counters that only grow.
//!
//! Invariant: a figure is an average over at least [`LEAST`], and over about [`LONG`] or more once there is so much; of each
//! counter two samples are kept. Absent: what is counted, and by what clock.

use std::collections::HashMap;

use kinds::metrics::Figure;

/// Samples are taken so often, in nanoseconds.
pub(super) const PERIOD: i64 = 15_000_000_000;
/// Averages over less are taken only where there is no more.
const LONG: i64 = 10_000_000_000;
/// Averages over less say nothing.
const LEAST: i64 = 1_000_000_000;

/// What a counter showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Nanoseconds since the epoch.
    pub(super) at: i64,
    /// Nanoseconds of CPU used.
    pub(super) cpu: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Meter(HashMap<String, [Option<Sample>; 2]>);

impl Meter {
    /// Keeps a round of samples; what is in none of them is gone.
    pub(super) fn keep(&mut self, round: Vec<(String, Sample)>) {
        let mut before = std::mem::take(&mut self.0);
        let kept = round.into_iter().map(|(id, sample)| {
            let last = before.remove(&id).and_then(|[last, _]| last);
            (id, [Some(sample), last])
        });
        self.0 = kept.collect();
    }

    /// The average use up to now of what began at a time, if it has been seen for long enough.
    pub(super) fn figure(&self, id: &str, began: i64, now: Sample, memory: u64) -> Option<Figure> {
        let [last, earlier] = self.0.get(id).copied().unwrap_or_default();
        // What is older than two rounds was never asked at its beginning.
        let first = Some(Sample { at: began, cpu: 0 }).filter(|first| now.at - first.at <= 2 * PERIOD);
        let known = || [last, earlier, first].into_iter().flatten().filter(|s| now.at - s.at >= LEAST);
        let base = known().find(|s| now.at - s.at >= LONG).or_else(|| known().min_by_key(|s| s.at))?;
        let window = now.at - base.at;
        let used = i128::from(now.cpu.saturating_sub(base.cpu));
        Some(Figure {
            at_nanos: now.at,
            window_nanos: window,
            cpu_nanos: i64::try_from(used * 1_000_000_000 / i128::from(window)).unwrap_or(i64::MAX),
            memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn sample(at: i64, cpu: u64) -> Sample {
        Sample { at: at * SECOND, cpu: cpu * 1_000_000_000 }
    }

    #[test]
    fn over_which_time() {
        // Seconds of the kept samples and of the beginning; the window in seconds and the use in thousandths.
        for (kept, began, now, want) in [
            (&[(90, 40), (75, 30)][..], 0, (100, 50), Some((10, 1000))),
            (&[(95, 49), (80, 30)], 0, (100, 50), Some((20, 1000))),
            (&[(95, 45)], 0, (100, 50), Some((5, 1000))),
            (&[], 96, (100, 2), Some((4, 500))),
            (&[(99, 2)], 85, (100, 3), Some((15, 200))),
            (&[], 0, (100, 50), None),
            (&[], 100, (100, 0), None),
        ] {
            let mut meter = Meter::default();
            for (at, cpu) in kept.iter().rev() {
                meter.keep(vec![("c".into(), sample(*at, *cpu))]);
            }
            let got = meter.figure("c", began * SECOND, sample(now.0, now.1), 7);
            assert!(got.as_ref().is_none_or(|f| f.memory_bytes == 7 && f.at_nanos == 100 * SECOND));
            let got = got.map(|f| (f.window_nanos / SECOND, f.cpu_nanos / 1_000_000));
            assert_eq!(got, want, "{kept:?} {began}");
        }
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut meter = Meter::default();
        meter.keep(vec![("a".into(), sample(10, 1)), ("b".into(), sample(10, 1))]);
        meter.keep(vec![("b".into(), sample(25, 2))]);
        assert!(meter.figure("a", 0, sample(40, 3), 0).is_none());
        assert_eq!(meter.figure("b", 0, sample(40, 17), 0).map(|f| f.cpu_nanos), Some(SECOND));
    }
}
