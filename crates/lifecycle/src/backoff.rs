//! Back-off of crashing containers and of images that cannot be pulled (upstream: `flowcontrol.Backoff`, seen through
//! `doBackOff` and the image manager).

use crate::step::Run;
use crate::text::warning;
use crate::types::{Container, Failure, Time};
use crate::view::pod_label;

const FIRST: i64 = 10;
const MOST: i64 = 300;
/// A container that ran this much longer than its last back-off starts anew.
const FORGOTTEN: i64 = 2 * MOST;
/// A failed pull is shown as such this long, then as back-off.
const SHOW_ERROR: i64 = 1;

impl Run<'_> {
    /// Until when the container whose newest instance ended may not start again; `None` if it may now, and then the next
    /// back-off is already counted.
    pub(crate) fn crash_backoff(
        &mut self,
        name: &str,
        ended: &Container,
        image_changed: bool,
    ) -> Option<Time> {
        let now = self.now;
        let finished =
            if ended.finished_at == Time::default() { ended.created_at } else { ended.finished_at };
        let cm = self.cm(name);
        if cm.backoff_for == ended.id {
            return None;
        }
        if image_changed || finished.secs_since(cm.backoff_at) > FORGOTTEN {
            cm.backoff = 0;
        }
        let until = finished.plus_secs(cm.backoff);
        if cm.backoff > 0 && now < until {
            return Some(until);
        }
        cm.backoff = if cm.backoff == 0 { FIRST } else { (cm.backoff * 2).min(MOST) };
        cm.backoff_at = now;
        cm.backoff_for.clone_from(&ended.id);
        None
    }

    /// Shows a container as backing off, and says so once for each ended instance.
    pub(crate) fn tell_crash_backoff(&mut self, name: &str, ended: &str, until: Time) {
        let label = pod_label(&self.d.pod);
        let path = self.path_of(name);
        let cm = self.cm(name);
        let message = format!(
            "back-off {} restarting failed container={name} pod={label}",
            base::duration::format_go(cm.backoff * 1_000_000_000)
        );
        cm.start_error = Some(Failure { reason: "CrashLoopBackOff".into(), message });
        let first = cm.backoff_told != ended;
        ended.clone_into(&mut cm.backoff_told);
        if first {
            let text = format!("Back-off restarting failed container {name} in pod {label}");
            self.emit(warning(&path, "BackOff", text));
        }
        self.wake_at(until);
    }

    /// Counts a failed pull.
    pub(crate) fn image_backoff(&mut self, image: &str, reason: &str, message: &str) {
        let now = self.now;
        let p = self.mem.images.entry(image.to_owned()).or_default();
        let forgotten = p.backoff > 0 && now.secs_since(p.failed_at) > FORGOTTEN;
        p.backoff = if p.backoff == 0 || forgotten { FIRST } else { (p.backoff * 2).min(MOST) };
        p.failed_at = now;
        reason.clone_into(&mut p.reason);
        message.clone_into(&mut p.message);
    }

    /// Whether the image may not be pulled yet; shows why.
    pub(crate) fn image_backs_off(&mut self, name: &str, image: &str) -> bool {
        let Some(p) = self.mem.images.get(image).cloned() else { return false };
        let until = p.failed_at.plus_secs(p.backoff);
        if self.now >= until {
            return false;
        }
        self.wake_at(until);
        let show = p.failed_at.plus_secs(SHOW_ERROR);
        if self.now < show {
            self.wake_at(show);
            if self.cm(name).start_error.is_none() {
                self.cm(name).start_error = Some(Failure { reason: p.reason, message: p.message });
            }
            return true;
        }
        let told = self
            .peek(name)
            .and_then(|c| c.start_error.as_ref())
            .is_some_and(|e| e.reason == "ImagePullBackOff");
        let message = format!("Back-off pulling image {image:?}: {}: {}", p.reason, p.message);
        self.cm(name).start_error = Some(Failure { reason: "ImagePullBackOff".into(), message });
        if !told {
            let path = self.path_of(name);
            self.emit(crate::text::normal(&path, "BackOff", format!("Back-off pulling image {image:?}")));
            self.emit(warning(&path, "Failed", "Error: ImagePullBackOff"));
        }
        true
    }
}
