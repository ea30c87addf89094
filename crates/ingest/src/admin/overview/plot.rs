//! A chart: SVG, what a legend and a screen reader tell, and its numbers as a table.
//!
//! plotters writes colours as attributes, and no inline style, which the pages' policy forbids. The colours that it is
//! given here only name a place: `assets/style.css` puts the reader's light or dark ones there, and the dashes.

mod axis;
mod svg;

use postback_core::queue::Step;

use self::axis::Times;
use super::numbers;

/// Which figures a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Count,
    Rate,
    Seconds,
    Bytes,
    Percent,
}

/// How they are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lines,
    /// On a logarithmic scale; figures are above zero.
    LogLines,
    /// One above the other.
    Stack,
}

/// A line, or a part of the stack.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// Its colour's number in the style, from 1.
    pub(super) color: u8,
    /// A figure for each step; `None`: a gap.
    pub(super) points: Vec<Option<f64>>,
}

/// What is to be drawn.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) format: Format,
    pub(super) kind: Kind,
    pub(super) series: Vec<Series>,
    pub(super) is_small: bool,
}

/// A chart for the template.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// What it shows, for those who do not see it.
    pub(super) label: String,
    pub(super) svg: String,
    pub(super) legend: Vec<Legend>,
    pub(super) is_stack: bool,
    /// When each step began, and its figures in the order of the legend; the newest first.
    pub(super) rows: Vec<(String, Vec<String>)>,
}

/// A line of the legend.
#[derive(Debug, Clone)]
pub(super) struct Legend {
    pub(super) name: &'static str,
    pub(super) color: String,
    pub(super) latest: String,
}

impl Format {
    pub(super) fn show(self, n: f64) -> String {
        match self {
            Format::Count => numbers::count(n),
            Format::Rate => format!("{}/s", numbers::count(n)),
            Format::Seconds => numbers::seconds(n),
            Format::Bytes => numbers::bytes(n),
            Format::Percent => numbers::percent(n),
        }
    }
}

impl Plot {
    /// Draws it; the series have a point for each of these steps.
    pub(super) fn draw(mut self, steps: &[Step]) -> Chart {
        if self.kind == Kind::Stack {
            // Nothing but zeros has no place in a stack; without anything the first stands for all.
            let is_there =
                |series: &Series| series.points.iter().flatten().any(|point| *point > 0.0);
            let first = self.series.first().cloned();
            self.series.retain(is_there);
            if self.series.is_empty() {
                self.series.extend(first);
            }
        }
        let times = Times::of(steps);
        let svg = svg::draw(&self, &times).unwrap_or_else(|error| {
            log::error!("cannot draw the chart `{}`: {error}", self.title);
            String::new()
        });
        let legend: Vec<Legend> = self.series.iter().map(|series| self.legend(series)).collect();
        let latest: Vec<String> =
            legend.iter().map(|line| format!("{} {}", line.name, line.latest)).collect();
        Chart {
            title: self.title,
            unit: self.unit,
            label: format!("{} ({}). Latest: {}.", self.title, self.unit, latest.join(", ")),
            svg,
            legend,
            is_stack: self.kind == Kind::Stack,
            rows: (0..steps.len()).rev().map(|n| (times.label(n as f64), self.cells(n))).collect(),
        }
    }

    fn legend(&self, series: &Series) -> Legend {
        let latest = series.points.iter().rev().take(2).flatten().next();
        Legend {
            name: series.name,
            color: format!("#{:06X}", series.color),
            latest: latest.map_or("no figure".to_owned(), |point| self.format.show(*point)),
        }
    }

    fn cells(&self, n: usize) -> Vec<String> {
        let point = |series: &Series| series.points.get(n).copied().flatten();
        let cell = |series| point(series).map_or("–".to_owned(), |point| self.format.show(point));
        self.series.iter().map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn steps(n: u64) -> Vec<Step> {
        let step = |n| Step { at_ms: n * 60_000, time: Duration::from_secs(60), ..Step::default() };
        (0..n).map(step).collect()
    }

    fn series(name: &'static str, color: u8, points: &[Option<f64>]) -> Series {
        Series { name, color, points: points.to_vec() }
    }

    fn plot(kind: Kind, series: Vec<Series>) -> Plot {
        Plot { title: "T", unit: "u", format: Format::Rate, kind, series, is_small: false }
    }

    #[test]
    fn a_chart_tells_its_latest_figures_and_has_them_as_a_table() {
        let points = [Some(1.0), None, Some(2.5)];
        let chart = plot(Kind::Lines, vec![series("in", 1, &points)]).draw(&steps(3));
        assert_eq!(chart.label, "T (u). Latest: in 2.5/s.");
        let cells: Vec<_> = chart.rows.iter().map(|(at, cells)| (&at[..], &cells[0][..])).collect();
        assert_eq!(cells, [("00:02", "2.5/s"), ("00:01", "–"), ("00:00", "1/s")]);
    }

    #[test]
    fn gaps_break_a_line_and_a_lone_point_is_seen() {
        let points = [Some(1.0), Some(2.0), None, Some(2.0), Some(1.0), None, Some(3.0)];
        let chart = plot(Kind::Lines, vec![series("in", 1, &points)]).draw(&steps(7));
        let count = |text: &str| chart.svg.matches(text).count();
        assert_eq!(count("stroke=\"#000001\""), 2, "{}", chart.svg);
        assert_eq!(count("<circle"), 1);
    }

    #[test]
    fn a_stack_holds_what_there_is_one_above_the_other() {
        let all = vec![
            series("2xx", 2, &[Some(5.0), Some(6.0)]),
            series("4xx", 4, &[Some(0.0), Some(0.0)]),
            series("5xx", 3, &[Some(1.0), Some(6.0)]),
        ];
        let chart = plot(Kind::Stack, all).draw(&steps(2));
        let names: Vec<_> = chart.legend.iter().map(|line| line.name).collect();
        assert_eq!(names, ["2xx", "5xx"]);
        // Drawn from the top down, so that the lower ones lie over the higher.
        let place = |color: &str| chart.svg.find(&format!("fill=\"{color}\"")).expect(color);
        assert!(place("#000003") < place("#000002"));
        assert!(chart.svg.contains(">\n5xx\n<"), "bands are named: {}", chart.svg);
    }

    #[test]
    fn no_chart_has_inline_styles_or_scripts() {
        let nothing = [None, Some(0.0), Some(f64::from(u32::MAX) * 1e12)];
        for kind in [Kind::Lines, Kind::LogLines, Kind::Stack] {
            for n in [0, 1, 3] {
                let chart = plot(kind, vec![series("in", 1, &nothing[..n])]).draw(&steps(n as u64));
                assert!(chart.svg.starts_with("<svg "), "{kind:?} {n}");
                for bad in ["style=", "<script", "href", " on", "NaN", "inf"] {
                    assert!(!chart.svg.contains(bad), "{kind:?} {n}: {bad} in {}", chart.svg);
                }
            }
        }
    }
}
