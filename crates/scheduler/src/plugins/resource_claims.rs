//! `DynamicResources`: of its work only what it says about Pods that no node takes, and which upstream's message
//! contains for every Pod. Absent: resource claims themselves; no kind of the API has them.

use crate::dice::Dice;
use crate::plugin::{Attempt, Plugin, Points, PostFilter};

/// See the module.
#[derive(Debug)]
pub(crate) struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn points(&self) -> Points {
        Points::POST_FILTER
    }

    fn post_filter(&self, _: &Attempt<'_, '_>, _: &mut Dice) -> PostFilter {
        PostFilter::Said("no new claims to deallocate".into())
    }
}
