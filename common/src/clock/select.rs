//! Which of several servers can be right, after the intersection algorithm of RFC 5905 section 11.2.1
//! (Marzullo's, with the demand that an estimate to be used lies where the majority says UTC is).

use crate::time::{Span, UtcEstimate};

/// One voter's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its interval does not meet the majority's.
    Falseticker,
    /// It agrees with the majority, but its estimate lies outside the intervals of too many: its interval
    /// is wide, or it is about to walk away.
    Outlying,
    /// It agrees with the majority, which also vouches for its estimate.
    Truechimer,
}

/// The standing of each of `voters`, all taken at one instant; `None` if no majority of them can be right
/// together.
pub(super) fn judge(voters: &[UtcEstimate]) -> Option<Vec<Standing>> {
    let is_majority = |count: usize| count * 2 > voters.len();
    let covering = |utc| voters.iter().filter(|v| covers(v, utc)).count();
    // The intersection that most intervals share begins where one of them begins.
    let (start, count) = voters
        .iter()
        .map(|v| v.utc - v.uncertainty)
        .map(|start| (start, covering(start)))
        .max_by_key(|&(_, count)| count)?;
    if !is_majority(count) {
        return None;
    }
    let standing = |v: &UtcEstimate| match (covers(v, start), is_majority(covering(v.utc))) {
        (false, _) => Standing::Falseticker,
        (true, false) => Standing::Outlying,
        (true, true) => Standing::Truechimer,
    };
    Some(voters.iter().map(standing).collect())
}

fn covers(estimate: &UtcEstimate, utc: crate::time::Utc) -> bool {
    let away: Span = utc - estimate.utc;
    away.abs() <= estimate.uncertainty
}

#[cfg(test)]
mod tests {
    use super::Standing::{Falseticker, Outlying, Truechimer};
    use super::*;
    use crate::time::Utc;

    fn voters(estimates: &[(i64, i64)]) -> Vec<UtcEstimate> {
        let voter = |&(ms, bound)| UtcEstimate {
            utc: Utc::from_unix_nanos(1_790_000_000_000_000_000) + Span::from_millis(ms),
            uncertainty: Span::from_millis(bound),
        };
        estimates.iter().map(voter).collect()
    }

    #[test]
    fn one_of_three_is_outvoted() {
        let found = judge(&voters(&[(0, 5), (100, 5), (3, 5)]));
        assert_eq!(found, Some(vec![Truechimer, Falseticker, Truechimer]));
    }

    #[test]
    fn two_of_five_are_outvoted_even_if_they_agree() {
        let found = judge(&voters(&[(-80, 5), (0, 5), (-80, 5), (4, 5), (2, 5)]));
        assert_eq!(found, Some(vec![Falseticker, Truechimer, Falseticker, Truechimer, Truechimer]));
    }

    #[test]
    fn a_wide_interval_is_no_lie() {
        let found = judge(&voters(&[(0, 1), (40, 50), (1, 1)]));
        assert_eq!(found, Some(vec![Truechimer, Outlying, Truechimer]));
    }

    #[test]
    fn one_that_walks_away_is_not_used_before_it_is_caught() {
        let found = judge(&voters(&[(0, 5), (8, 5), (-1, 5)]));
        assert_eq!(found, Some(vec![Truechimer, Outlying, Truechimer]));
    }

    #[test]
    fn without_a_majority_nobody_is_right() {
        assert_eq!(judge(&voters(&[(0, 5), (100, 5)])), None);
        assert_eq!(judge(&voters(&[(0, 5), (100, 5), (200, 5)])), None);
        assert_eq!(judge(&voters(&[(0, 5), (3, 5), (200, 5), (202, 5)])), None);
        assert_eq!(judge(&[]), None);
    }

    #[test]
    fn one_alone_and_two_that_agree_are_believed() {
        assert_eq!(judge(&voters(&[(7, 5)])), Some(vec![Truechimer]));
        assert_eq!(judge(&voters(&[(0, 5), (3, 9)])), Some(vec![Truechimer; 2]));
    }
}
