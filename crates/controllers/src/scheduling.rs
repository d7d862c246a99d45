//! The scheduler's loop: changes go in, one Pod at a time is taken and decided, what was decided is carried out beside it.
//!
//! Invariants: nothing is decided here (`scheduler` does); whatever has happened is taken in before the next decision, but
//! nothing while an extender is asked; a change costs what it changed. Absent: reading collections.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::Instant;
use scheduler::{Binding, Decision, PodInfo, Scheduler, Settings, Step};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::context::Context;
use crate::driver::Failure;

mod extenders;
mod feed;

use extenders::Outside;

/// Whom its writes are of.
const USER: &str = "system:kube-scheduler";

/// How long the first Pods wait for a node that is ready; a fresh cluster's only node needs a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest sleep if nothing is expected.
const IDLE: Duration = Duration::from_secs(3600);

type Done = (Decision, Binding);

/// A context for each profile: who tells of a Pod is the scheduler that the Pod names.
pub(crate) struct Voices {
    first: Arc<Context>,
    all: HashMap<Arc<str>, Arc<Context>>,
}

impl Voices {
    /// Their recorders' tasks go into `tasks`.
    pub(crate) fn new(config: &Config, settings: &Settings, tasks: &mut JoinSet<()>) -> Self {
        let mut voice = |name: &str| Arc::new(Context::new(config, USER, name, tasks));
        let all: HashMap<_, _> = settings.profiles.iter().map(|p| (p.name.clone(), voice(&p.name))).collect();
        let first = settings.profiles.first().and_then(|p| all.get(&p.name)).cloned();
        Self { first: first.unwrap_or_else(|| voice(scheduler::DEFAULT)), all }
    }

    fn of(&self, pod: &PodInfo) -> &Arc<Context> {
        self.all.get(&pod.scheduler_name).unwrap_or(&self.first)
    }
}

/// Runs until cancelled; what was decided is carried out. Equal nodes are chosen among by `seed`.
pub(crate) async fn run(voices: Voices, settings: Settings, seed: u64, cancel: CancellationToken) {
    let context = voices.first.clone();
    let mut deltas = context.snapshots.deltas(&feed::watched());
    let outside: Vec<Arc<Outside>> = settings.extenders.iter().map(|e| Arc::new(Outside::new(e))).collect();
    let start = tokio::time::Instant::now();
    let mut scheduler = Scheduler::new(settings, seed, Instant(0) + PATIENCE);
    let mut tasks: JoinSet<Done> = JoinSet::new();
    loop {
        let now = Instant(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let next = scheduler.wake_at(now).unwrap_or(now + IDLE);
        tokio::select! {
            // In this order, so that a simulation can repeat it, and a decision knows everything.
            biased;
            () = cancel.cancelled() => break,
            changed = deltas.next() => for delta in changed {
                feed::tell(&mut scheduler, now, delta);
            },
            Some(done) = tasks.join_next() => match done {
                Ok((decision, binding)) => {
                    let plan = scheduler.done(now, &decision, &binding);
                    if let (Some(about), events) = (plan.about, plan.events) {
                        let voice = voices.of(&decision.pod);
                        events.into_iter().for_each(|event| voice.event(&about, event));
                    }
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            },
            () = tokio::task::yield_now(), if next <= now => {
                if let Some(step) = scheduler.next(now, context.now()) {
                    let decided = decided(&context, &outside, &mut scheduler, now, step);
                    let Some(Some(decision)) = cancel.run_until_cancelled(decided).await else { break };
                    let binder = decision.binder.map(|place| outside[place].clone());
                    tasks.spawn(carry_out(voices.of(&decision.pod).clone(), decision, binder));
                }
            }
            () = tokio::time::sleep_until(start + Duration::from_nanos(next.0)), if next > now => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Asks extenders until the decision is made.
async fn decided(
    context: &Context,
    outside: &[Arc<Outside>],
    scheduler: &mut Scheduler,
    now: Instant,
    mut step: Step,
) -> Option<Decision> {
    loop {
        match step {
            Step::Decided(decision) => return Some(decision),
            Step::Ask(ask) => {
                let answer = outside[ask.extender].ask(context, &ask).await;
                if let Err(why) = &answer {
                    tracing::warn!(pod = %ask.pod.name, "an extender failed: {why}");
                }
                step = scheduler.answer(now, context.now(), answer)?;
            }
        }
    }
}

async fn carry_out(context: Arc<Context>, mut decision: Decision, binder: Option<Arc<Outside>>) -> Done {
    if let (Some(extender), Some(node)) = (binder, &decision.node)
        && let Err(why) = extender.bind(&decision.pod, node).await
    {
        return (decision, Binding::Failed(why));
    }
    for plan in std::mem::take(&mut decision.plans) {
        let Err(failure) = context.execute(plan).await else { continue };
        if matches!(&failure, Failure::Api(status) if status.is("NotFound")) {
            return (decision, Binding::Gone);
        }
        tracing::warn!(pod = %decision.pod.name, node = ?decision.node, "not carried out: {failure}");
        // It may be done all the same: what is tried again is decided with that in view.
        let unknown = context.snapshots.barrier().await.err();
        return (decision, Binding::Failed(unknown.map_or(failure.to_string(), |status| status.to_string())));
    }
    (decision, Binding::Done)
}
