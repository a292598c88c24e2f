//! `random`, and what the methods that compare two begin with: addresses drawn at random, weights honoured.

use std::sync::Arc;

use fastrand::Rng;

use super::Search;
use super::set::Circle;
use super::slow_start::SlowStart;
use crate::upstream::endpoint::Endpoint;

/// Draws before whatever comes next is taken.
const DRAWS: usize = 16;

/// One, weights honoured.
pub(super) fn one<'a>(circle: Circle<'a>, search: Search<'_>, slow: SlowStart) -> Option<&'a Arc<Endpoint>> {
    place(circle, search, slow, &mut search.dice()).map(|place| &circle.members[place])
}

/// One, weights honoured, or another that `is_better` than it, drawn from the rest without regard to weights.
pub(super) fn better_of_two<'a>(
    circle: Circle<'a>,
    search: Search<'_>,
    slow: SlowStart,
    is_better: impl Fn(&Endpoint, &Endpoint) -> bool,
) -> Option<&'a Arc<Endpoint>> {
    let mut dice = search.dice();
    let place = place(circle, search, slow, &mut dice)?;
    let (first, others) = (&circle.members[place], circle.members.len() - 1);
    for _ in 0..DRAWS.min(others * DRAWS) {
        let second = &circle.members[(place + 1 + dice.usize(..others)) % circle.members.len()];
        if search.allows(second) && slow.admits(second, circle, search, &mut dice) {
            return Some(if is_better(second, first) { second } else { first });
        }
    }
    Some(first)
}

fn place(circle: Circle<'_>, search: Search<'_>, slow: SlowStart, dice: &mut Rng) -> Option<usize> {
    for _ in 0..DRAWS {
        let place = circle.place(dice.usize(..circle.turns()));
        let endpoint = &circle.members[place];
        if search.allows(endpoint) && slow.admits(endpoint, circle, search, dice) {
            return Some(place);
        }
    }
    circle.from(dice.usize(..circle.turns()), |endpoint| search.allows(endpoint)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::super::trial::Trial;
    use crate::upstream::policy::Balance;

    #[test]
    fn random_reaches_everybody_about_as_often_as_the_weights_say() {
        let counts = Trial::new(Balance::Random, &[1, 1, 2]).counts(4000);
        assert!(counts[0].abs_diff(1000) < 150 && counts[2].abs_diff(2000) < 200, "{counts:?}");
    }
}
