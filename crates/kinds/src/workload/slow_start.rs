//! How many writes are tried at once: few at first, so that where all would fail only few do (`slowStartBatch`).

/// The most writes in flight for one plan.
const MOST: usize = 64;

/// Sizes of the batches of `total` writes: 1, 2, 4, …
pub fn batches(total: usize) -> impl Iterator<Item = usize> {
    let mut left = total;
    let mut next = 1;
    std::iter::from_fn(move || {
        let size = next.min(left);
        left -= size;
        next = (next * 2).min(MOST);
        (size > 0).then_some(size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_up_to_the_most() {
        for (total, want) in
            [(0, vec![]), (1, vec![1]), (6, vec![1, 2, 3]), (200, vec![1, 2, 4, 8, 16, 32, 64, 64, 9])]
        {
            assert_eq!(batches(total).collect::<Vec<_>>(), want);
        }
    }
}
