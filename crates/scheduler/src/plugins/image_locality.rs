//! `ImageLocality`: nodes that have the Pod's images already are better, the more so the bigger the images are.
//!
//! Invariant: an image that few nodes have counts for little, or Pods would crowd there.

use std::sync::Arc;

use crate::node::NodeInfo;
use crate::plugin::{MAX_SCORE, Plugin, Points, Score};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

const MEBIBYTE: i64 = 1024 * 1024;
const LEAST: i64 = 23 * MEBIBYTE;
const MOST_PER_CONTAINER: i64 = 1000 * MEBIBYTE;

/// See the module.
#[derive(Debug)]
pub(crate) struct ImageLocality;

struct Images<'a> {
    /// Each image and how many nodes have it.
    images: Vec<(&'a Arc<str>, i64)>,
    nodes: i64,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn points(&self) -> Points {
        Points::SCORE
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        world: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let spread = |image| count(world.nodes_with_image(image));
        let images: Vec<_> = pod.images.iter().map(|image| (image, spread(image))).collect();
        let known = images.iter().any(|(_, nodes)| *nodes > 0);
        known.then(|| Box::new(Images { images, nodes: count(world.nodes().len()) }) as Box<dyn Score>)
    }
}

impl Score for Images<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let here = |(image, spread): &(&Arc<str>, i64)| {
            let size = i128::from(node.images.get(&***image).copied().unwrap_or_default());
            size * i128::from(*spread) / i128::from(self.nodes.max(1))
        };
        let sum = i64::try_from(self.images.iter().map(here).sum::<i128>()).unwrap_or(i64::MAX);
        let most = MOST_PER_CONTAINER * i64::try_from(self.images.len()).unwrap_or(1).max(1);
        MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }
}
