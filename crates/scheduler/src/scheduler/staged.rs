//! A decision about a Pod that extenders take part in, stage by stage: what to ask next, what an answer means.
//!
//! Invariant: between a question and its answer the snapshot does not change, so positions stay what they are.

use std::sync::Arc;

use base::{Instant, Timestamp};
use serde_json::Value;

use crate::cycle::{Cycle, Found, Outcome, Post, Room, after_refusal, best, refused, search, totals};
use crate::extender::{Ask, Extender, Question, SCALE};
use crate::plugin::{Nomination, PluginSet};
use crate::plugins::least_harm;
use crate::pod::PodInfo;
use crate::refusal::{Reason, Refusal};

use super::{Scheduler, Step};

/// How far it has come.
#[derive(Debug)]
pub(super) struct Staged {
    pod: Arc<PodInfo>,
    profile: usize,
    nominated: Option<Arc<str>>,
    found: Found,
    /// The extender that is asked, or will be next.
    extender: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Filter,
    Prioritize { totals: Vec<i64> },
    Preempt { candidates: Vec<Nomination>, post: Post },
}

impl Scheduler {
    /// Begins a decision.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        clock: Timestamp,
        pod: Arc<PodInfo>,
        profile: usize,
        nominated: Option<Arc<str>>,
    ) -> Step {
        let found = self.look(&pod, profile, nominated.as_deref());
        let stage = Stage::Filter;
        self.go_on(now, clock, Staged { pod, profile, nominated, found, extender: 0, stage })
    }

    /// What the extender said that [`Step::Ask`] asked, or why it said nothing.
    pub fn answer(&mut self, now: Instant, clock: Timestamp, answer: Result<Value, String>) -> Option<Step> {
        let mut staged = self.staged.take()?;
        let extender = &self.extenders[staged.extender];
        let heard = answer.and_then(|answer| self.hear(extender, &mut staged, &answer));
        let may_fail = extender.ignorable || matches!(staged.stage, Stage::Prioritize { .. });
        if let Err(error) = heard
            && !may_fail
        {
            self.queue.failed(now, &staged.pod.uid);
            let said = ("SchedulerError", error);
            return Some(Step::Decided(self.refuse(now, clock, staged.pod, said, Room::AsItWas)));
        }
        staged.extender += 1;
        Some(self.go_on(now, clock, staged))
    }

    fn look(&mut self, pod: &PodInfo, profile: usize, nominated: Option<&str>) -> Found {
        let profile = self.profiles.get(profile);
        search(profile, pod, nominated, &self.snapshot, &mut self.memory, true).0
    }

    /// Takes what an extender said.
    fn hear(&self, extender: &Extender, staged: &mut Staged, answer: &Value) -> Result<(), String> {
        match &mut staged.stage {
            Stage::Filter => {
                let asked: Vec<Arc<str>> = self.names(&staged.found.fitting);
                let said = extender.filtered(&asked, answer)?;
                for (name, (why, resolvable)) in &said.refused {
                    let Some((position, _)) = self.snapshot.node(name) else { continue };
                    let (reason, resolvable) = (Reason::of("", why), *resolvable);
                    staged.found.diagnosis.say(position, &Refusal { reason, more: Vec::new(), resolvable });
                }
                let before = staged.found.fitting.len();
                let positions = said.fit.iter().filter_map(|name| self.snapshot.node(name));
                staged.found.fitting = positions.map(|(position, _)| position).collect();
                if staged.found.fitting.len() != before {
                    staged.found.diagnosis.plugins.extend(PluginSet::EXTENDER);
                }
            }
            Stage::Prioritize { totals } => {
                let said = extender.scores(answer)?;
                for (position, total) in staged.found.fitting.iter().zip(totals) {
                    let score = said.get(&*self.snapshot.nodes()[*position].name);
                    *total += score.copied().unwrap_or_default() * extender.weight * SCALE;
                }
            }
            Stage::Preempt { candidates, .. } => {
                let mut left = Vec::new();
                for (node, (uids, violations)) in extender.preempted(answer)? {
                    let Some((_, there)) = self.snapshot.node(&node) else {
                        return Err(format!("nodeinfo not found for node name {node:?}"));
                    };
                    let victim = |uid: &String| {
                        there.pods.iter().find(|p| *p.uid == **uid).cloned().ok_or_else(|| {
                            format!(
                                "extender: {} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found \
                                 on that node",
                                extender.url
                            )
                        })
                    };
                    let victims = uids.iter().map(victim).collect::<Result<_, _>>()?;
                    left.push(Nomination { node: there.name.clone(), victims, violations });
                }
                *candidates = left;
            }
        }
        Ok(())
    }

    fn names(&self, positions: &[usize]) -> Vec<Arc<str>> {
        positions.iter().map(|i| self.snapshot.nodes()[*i].name.clone()).collect()
    }

    /// The next question of the stage, or the next stage.
    fn go_on(&mut self, now: Instant, clock: Timestamp, mut staged: Staged) -> Step {
        loop {
            if let Some(what) = self.next_question(&mut staged) {
                let ask = Ask { extender: staged.extender, pod: staged.pod.clone(), what };
                self.staged = Some(staged);
                return Step::Ask(ask);
            }
            staged.extender = 0;
            match staged.stage {
                Stage::Filter if staged.found.fitting.is_empty() && staged.found.nominated => {
                    // Not where room was made for it; perhaps elsewhere.
                    staged.found = self.look(&staged.pod, staged.profile, None);
                }
                Stage::Filter if staged.found.fitting.is_empty() => {
                    let (post, candidates) = self.ask_post_filters(&staged);
                    staged.stage = Stage::Preempt { candidates, post };
                }
                Stage::Filter => {
                    let (profile, fitting) = (self.profiles.get(staged.profile), &staged.found.fitting);
                    let totals = match fitting.len() {
                        1 => Vec::new(),
                        _ => totals(profile, &staged.pod, &self.snapshot, fitting),
                    };
                    staged.stage = Stage::Prioritize { totals };
                }
                Stage::Prioritize { totals } => {
                    let place = match staged.found.fitting[..] {
                        [only] => only,
                        _ => best(&staged.found.fitting, &totals, &mut self.memory),
                    };
                    let (outcome, others) = (Outcome::Place(place), PluginSet::default());
                    return Step::Decided(self.settle(now, clock, staged.pod, outcome, others));
                }
                Stage::Preempt { candidates, post } => {
                    let outcome = refused(staged.found.diagnosis, post, least_harm(candidates));
                    return Step::Decided(self.settle(now, clock, staged.pod, outcome, PluginSet::default()));
                }
            }
        }
    }

    fn ask_post_filters(&mut self, staged: &Staged) -> (Post, Vec<Nomination>) {
        let (profile, pod) = (self.profiles.get(staged.profile), &staged.pod);
        let cycle = Cycle::of(profile, pod, &self.snapshot);
        let nominated = staged.nominated.as_deref();
        after_refusal(profile, &cycle, &staged.found.diagnosis, nominated, &mut self.memory)
    }

    /// What the next extender is asked that has a part in the stage; `None` if there is none.
    fn next_question(&self, staged: &mut Staged) -> Option<Question> {
        while let Some(extender) = self.extenders.get(staged.extender) {
            let names = || self.names(&staged.found.fitting);
            let question = match &staged.stage {
                _ if !extender.is_interested(&staged.pod) => None,
                Stage::Filter if extender.filter.is_empty() || staged.found.fitting.is_empty() => None,
                Stage::Filter => Some(Question::Filter(names())),
                Stage::Prioritize { totals } if extender.prioritize.is_empty() || totals.is_empty() => None,
                Stage::Prioritize { .. } => Some(Question::Prioritize(names())),
                Stage::Preempt { candidates, .. } if extender.preempt.is_empty() || candidates.is_empty() => {
                    None
                }
                Stage::Preempt { candidates, .. } => {
                    let one = |c: &Nomination| (c.node.clone(), (c.victims.clone(), c.violations));
                    Some(Question::Preempt(candidates.iter().map(one).collect()))
                }
            };
            if question.is_some() {
                return question;
            }
            staged.extender += 1;
        }
        None
    }
}
