//! Figures over all rounds, and the one table of them: Markdown, medians next to goals.

use std::collections::BTreeMap;

use crate::isolation::table::{aligned, digits};

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// It is told, and judged by nobody.
    None,
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

impl Goal {
    fn text(self, places: usize) -> String {
        match self {
            Goal::None => String::new(),
            Goal::Most(most) => format!("≤ {}", short(most, places)),
            Goal::Least(least) => format!("≥ {}", short(least, places)),
        }
    }

    /// Whether a value is as it should be; empty without a goal.
    fn met(self, value: f64) -> &'static str {
        match self {
            Goal::None => "",
            Goal::Most(most) if value <= most => "yes",
            Goal::Least(least) if value >= least => "yes",
            _ => "no",
        }
    }
}

/// One round's value of something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    /// What it is, with its unit.
    what: String,
    value: f64,
    /// Digits after the point.
    places: usize,
    goal: Goal,
}

impl Figure {
    /// A figure without a goal.
    pub(super) fn new(what: impl Into<String>, value: f64, places: usize) -> Figure {
        Figure { what: what.into(), value, places, goal: Goal::None }
    }

    /// The same with the most that it should be.
    pub(super) fn most(self, most: f64) -> Figure {
        Figure { goal: Goal::Most(most), ..self }
    }

    /// The same with the least that it should be.
    pub(super) fn least(self, least: f64) -> Figure {
        Figure { goal: Goal::Least(least), ..self }
    }
}

/// A figure's values in the order of the rounds.
#[derive(Debug, Clone, serde::Serialize)]
struct Series {
    scenario: String,
    figure: String,
    goal: String,
    values: Vec<f64>,
    #[serde(skip)]
    kind: (usize, Goal),
}

/// All figures, in the order in which they came first, those of a scenario together.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<usize, Vec<Series>>);

impl Table {
    /// Adds a round's figures of the scenario with this place in the table.
    pub(super) fn add(&mut self, place: usize, scenario: String, figures: Vec<Figure>) {
        let all = self.0.entry(place).or_default();
        for Figure { what, value, places, goal } in figures {
            match all.iter_mut().find(|series| series.figure == what) {
                Some(series) => series.values.push(value),
                None => all.push(Series {
                    scenario: scenario.clone(),
                    figure: what,
                    goal: goal.text(places),
                    values: vec![value],
                    kind: (places, goal),
                }),
            }
        }
    }

    /// The table's text.
    pub(super) fn text(&self) -> String {
        let head = ["figure", "goal", "median", "min", "max", "met", "rounds"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.0.values().flatten().map(Series::line));
        aligned(&lines)
    }

    /// All values of all rounds.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!(self.0.values().flatten().collect::<Vec<_>>())
    }
}

impl Series {
    fn line(&self) -> Vec<String> {
        let (places, goal) = self.kind;
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let text =
            |value: Option<&f64>| value.map(|value| digits(*value, places)).unwrap_or_default();
        let middle = median(&sorted);
        vec![
            format!("{}: {}", self.scenario, self.figure),
            self.goal.clone(),
            text(Some(&middle)),
            text(sorted.first()),
            text(sorted.last()),
            goal.met(middle).into(),
            self.values.len().to_string(),
        ]
    }
}

/// One use of CPU in another, as far as a clock of 10 ms tells.
pub(super) fn ratio(used: f64, other: f64) -> f64 {
    used.max(0.01) / other.max(0.01)
}

/// The median of sorted values; of an even number the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

/// A number without the zeros at its end.
fn short(number: f64, places: usize) -> String {
    let text = digits(number, places.max(2));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two() {
        let check = |sorted: &[f64], expect| assert_eq!(median(sorted), expect, "{sorted:?}");
        check(&[1.0], 1.0);
        check(&[1.0, 2.0], 1.5);
        check(&[1.0, 2.0, 9.0], 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_goal_is_judged_by_the_median() {
        let check = |goal: Goal, value, met, text: &str| {
            assert_eq!((goal.met(value), goal.text(2)), (met, text.to_owned()));
        };
        check(Goal::Most(1.25), 1.25, "yes", "≤ 1.25");
        check(Goal::Most(20.0), 20.1, "no", "≤ 20");
        check(Goal::Least(0.5), 0.4, "no", "≥ 0.5");
        check(Goal::None, 1.0, "", "");
    }

    #[test]
    fn rounds_of_a_figure_share_a_line_and_scenarios_keep_their_order() {
        let mut table = Table::default();
        table.add(1, "b".into(), vec![Figure::new("share, %", 97.0, 0).least(95.0)]);
        for value in [3.0, 1.0, 2.0] {
            table.add(0, "a".into(), vec![Figure::new("CPU, s", value, 2).most(1.5)]);
        }
        assert_eq!(
            table.text(),
            "| figure      | goal  | median | min  | max  | met | rounds |\n\
             |-------------|-------|--------|------|------|-----|--------|\n\
             | a: CPU, s   | ≤ 1.5 | 2.00   | 1.00 | 3.00 | no  | 3      |\n\
             | b: share, % | ≥ 95  | 97     | 97   | 97   | yes | 1      |\n"
        );
        assert_eq!(table.json()[0]["values"], serde_json::json!([3.0, 1.0, 2.0]));
    }
}
