//! The scheduler's loop: changes go in, one Pod at a time is taken and decided, what was decided is carried out beside it.
//!
//! Invariants: nothing is decided here (`scheduler` does); whatever has happened is taken in before the next decision, but
//! nothing while an extender is asked; a change costs what it changed. Absent: reading collections.

use std::sync::Arc;
use std::time::Duration;

use base::Instant;
use scheduler::extender::Extender;
use scheduler::{Binding, Decision, Scheduler, Settings, Step};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::driver::Failure;

mod extenders;
mod feed;

/// How long the first Pods wait for a node that is ready; a fresh cluster's only node needs a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest sleep if nothing is expected.
const IDLE: Duration = Duration::from_secs(3600);

type Done = (Decision, Binding);

/// Runs until cancelled; what was decided is carried out. Equal nodes are chosen among by `seed`.
pub(crate) async fn run(context: Context, settings: Settings, seed: u64, cancel: CancellationToken) {
    let context = Arc::new(context);
    let mut deltas = context.snapshots.deltas(&feed::watched());
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
                        events.into_iter().for_each(|event| context.event(&about, event));
                    }
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            },
            () = tokio::task::yield_now(), if next <= now => {
                if let Some(step) = scheduler.next(now, context.now()) {
                    let decided = decided(&context, &mut scheduler, now, step);
                    let Some(Some(decision)) = cancel.run_until_cancelled(decided).await else { break };
                    let binder = decision.binder.map(|place| scheduler.extenders()[place].clone());
                    tasks.spawn(carry_out(context.clone(), decision, binder));
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
    scheduler: &mut Scheduler,
    now: Instant,
    mut step: Step,
) -> Option<Decision> {
    loop {
        match step {
            Step::Decided(decision) => return Some(decision),
            Step::Ask(ask) => {
                let answer = extenders::ask(context, &scheduler.extenders()[ask.extender], &ask).await;
                if let Err(why) = &answer {
                    tracing::warn!(pod = %ask.pod.name, "an extender failed: {why}");
                }
                step = scheduler.answer(now, context.now(), answer)?;
            }
        }
    }
}

async fn carry_out(context: Arc<Context>, mut decision: Decision, binder: Option<Extender>) -> Done {
    if let (Some(extender), Some(node)) = (binder, &decision.node)
        && let Err(why) = extenders::bind(&extender, &decision.pod, node).await
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
