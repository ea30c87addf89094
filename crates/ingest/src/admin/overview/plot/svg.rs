//! The drawing itself, by plotters.

use std::ops::Range;

use plotters::{
    coord::ranged1d::{DefaultFormatting, KeyPointHint},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    Kind, Plot, Series,
    axis::{Times, linear, logarithmic},
};

/// Twice what is shown, so that whole numbers are fine enough.
const WIDTH: u32 = 720;
const HEIGHT: u32 = 340;
const SMALL_HEIGHT: u32 = 240;
/// As high as a line of text.
const LINE: u32 = 34;
const FONT: u32 = 31;
const LEFT: u32 = 124;
/// A band of the stack is named where it is at least so high.
const NAMED: f64 = 30.0;

/// Names of colours in the style: lines of the grid, text, and text on a band.
const GRID: RGBColor = RGBColor(0, 0, 0xA0);
const TEXT: RGBColor = RGBColor(0, 0, 0xA1);
const ON_BAND: RGBColor = RGBColor(0, 0, 0xA2);

type Failure = Box<dyn std::error::Error>;
type Area<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

/// An axis with labels where we want them.
struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        (f64::from(from) + f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// Draws a plot; no text of a stranger is in it.
pub(super) fn draw(plot: &Plot, times: &Times) -> Result<String, Failure> {
    let mut svg = String::new();
    let height = if plot.is_small { SMALL_HEIGHT } else { HEIGHT };
    draw_on(SVGBackend::with_string(&mut svg, (WIDTH, height)), plot, times, height)?;
    // Its size is the style's.
    let size = format!("width=\"{WIDTH}\" height=\"{height}\" ");
    Ok(svg.replacen(&size, "aria-hidden=\"true\" ", 1))
}

fn draw_on(
    backend: SVGBackend<'_>,
    plot: &Plot,
    times: &Times,
    height: u32,
) -> Result<(), Failure> {
    let area = backend.into_drawing_area();
    let (from, to, ticks) = scale(plot);
    let x = Axis { range: 0.0..times.end(), ticks: times.ticks() };
    let y = Axis { range: from..to, ticks };
    let mut chart = ChartBuilder::on(&area)
        .margin_top(LINE / 2)
        .margin_right(LINE)
        .x_label_area_size(LINE + 8)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(x, y)?;
    let figure = |y: f64| match plot.kind {
        Kind::LogLines => plot.format.show(10_f64.powf(y)),
        Kind::Lines | Kind::Stack => plot.format.show(y),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .x_label_formatter(&|x| times.label(*x))
        .y_label_formatter(&|y| figure(*y))
        .label_style(("sans-serif", FONT).into_font().color(&TEXT))
        .draw()?;
    match plot.kind {
        Kind::Stack => {
            let row = to / f64::from(height - LINE * 2);
            stack(&mut chart, &plot.series, NAMED * row, times.end())?;
        }
        Kind::Lines => lines(&mut chart, &plot.series, |point| point)?,
        Kind::LogLines => lines(&mut chart, &plot.series, |point| point.max(1e-9).log10())?,
    }
    area.present()?;
    Ok(())
}

fn scale(plot: &Plot) -> (f64, f64, Vec<f64>) {
    let points = || plot.series.iter().flat_map(|series| series.points.iter().flatten().copied());
    let most = match plot.kind {
        Kind::LogLines => return logarithmic(points()),
        Kind::Lines => points().fold(0.0, f64::max),
        Kind::Stack => {
            let steps = plot.series.first().map_or(0, |series| series.points.len());
            (0..steps).map(|n| height_at(&plot.series, n)).fold(0.0, f64::max)
        }
    };
    let (to, ticks) = linear(most, plot.format, if plot.is_small { 2.0 } else { 4.0 });
    (0.0, to, ticks)
}

/// How high these are at a step together.
fn height_at(series: &[Series], n: usize) -> f64 {
    series.iter().filter_map(|series| series.points.get(n).copied().flatten()).sum()
}

fn color(series: &Series) -> RGBColor {
    RGBColor(0, 0, series.color)
}

fn lines(chart: &mut Area<'_>, all: &[Series], height: fn(f64) -> f64) -> Result<(), Failure> {
    for series in all {
        let points: Vec<_> = series
            .points
            .iter()
            .enumerate()
            .map(|(n, point)| point.map(|point| (n as f64, height(point))))
            .collect();
        for piece in points.split(Option::is_none) {
            let piece: Vec<_> = piece.iter().flatten().copied().collect();
            match piece[..] {
                [] => {}
                [point] => {
                    chart.draw_series([Circle::new(point, 5, color(series).filled())])?;
                }
                _ => {
                    chart.draw_series(LineSeries::new(piece, color(series).stroke_width(4)))?;
                }
            }
        }
    }
    Ok(())
}

/// From the top of the stack down, each from the ground up: the lower ones lie over the higher.
fn stack(chart: &mut Area<'_>, all: &[Series], named: f64, end: f64) -> Result<(), Failure> {
    for (place, series) in all.iter().enumerate().rev() {
        let steps = (0..series.points.len()).filter(|n| series.points[*n].is_some());
        let points = steps.map(|n| (n as f64, height_at(&all[..=place], n)));
        let fill = color(series).filled();
        chart.draw_series(AreaSeries::new(points, 0.0, fill).border_style(ON_BAND))?;
    }
    let style = ("sans-serif", FONT).into_font().color(&ON_BAND);
    let style = style.pos(Pos::new(HPos::Center, VPos::Center));
    for (place, series) in all.iter().enumerate() {
        let bands = series.points.iter().enumerate().filter_map(|(n, band)| Some((n, (*band)?)));
        let widest = bands.max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((n, band)) = widest.filter(|(_, band)| *band >= named) else { continue };
        let x = (n as f64).clamp(0.08 * end, 0.92 * end);
        let y = height_at(&all[..place], n) + band / 2.0;
        chart.draw_series([Text::new(series.name, (x, y), style.clone())])?;
    }
    Ok(())
}
