//! Pauses after failures: longer each time, with a maximum.

/// `first`, then twice as long after each further failure, at most `longest`; in the same unit.
/// `failures` counts those before this one.
pub fn growing(first: i64, failures: u32, longest: i64) -> i64 {
    first.saturating_mul(2_i64.saturating_pow(failures)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::growing;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_overflow() {
        let pauses = [0, 1, 2, 3, 4, 62, 63, 64, u32::MAX].map(|failures| growing(3, failures, 30));
        assert_eq!(pauses, [3, 6, 12, 24, 30, 30, 30, 30, 30]);
    }
}
