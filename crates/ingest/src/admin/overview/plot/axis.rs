//! Where the labels of the axes are: round times, round figures, decades.

use postback_core::queue::Step;

use super::Format;

const MINUTE_MS: u64 = 60_000;
const DAY: u64 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970 began on a Thursday

/// The time axis: places are steps, from 0.
pub(super) struct Times {
    /// The first step's minute since 1970, and the minutes of a step.
    first: u64,
    of_step: u64,
    steps: u64,
}

impl Times {
    pub(super) fn of(steps: &[Step]) -> Times {
        let minute = |n: usize| steps.get(n).map_or(0, |step| step.at_ms / MINUTE_MS);
        let of_step = minute(1).saturating_sub(minute(0)).max(1);
        Times { first: minute(0), of_step, steps: steps.len() as u64 }
    }

    /// The last place, at least 1.
    pub(super) fn end(&self) -> f64 {
        self.steps.saturating_sub(1).max(1) as f64
    }

    /// Places of round times, three to six of them.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let all = self.steps * self.of_step;
        let every = [5, 15, 30, 120, 720].into_iter().find(|every| all / every <= 5).unwrap_or(DAY);
        let from = self.first.next_multiple_of(every);
        let place = |minute| (minute - self.first) as f64 / self.of_step as f64;
        (from..)
            .step_by(every as usize)
            .map(place)
            .take_while(|place| *place <= self.end())
            .collect()
    }

    /// The time at a place, UTC; over more than a day with the weekday.
    pub(super) fn label(&self, place: f64) -> String {
        let minute = self.first + (place.max(0.0) * self.of_step as f64).round() as u64;
        let time = format!("{:02}:{:02}", minute % DAY / 60, minute % 60);
        if self.steps * self.of_step > DAY {
            return format!("{} {time}", WEEKDAYS[(minute / DAY % 7) as usize]);
        }
        time
    }
}

/// Up to where the figures go, and its labels: at most about so many, from 0.
pub(super) fn linear(max: f64, format: Format, most: f64) -> (f64, Vec<f64>) {
    let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
    let max = if format == Format::Percent { 1.0 } else { max };
    let unit = unit(max, format);
    let least = max / unit / most;
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= least);
    let step = step.unwrap_or(10.0 * power) * unit;
    // There is no half row.
    let step = if format == Format::Count { step.max(1.0) } else { step };
    let n = (max / step * 0.999_999).ceil().max(1.0);
    (n * step, (0..=n as u32).map(|n| f64::from(n) * step).collect())
}

/// Round figures of 90 s are those of minutes.
fn unit(max: f64, format: Format) -> f64 {
    let units: &[f64] = match format {
        Format::Seconds => &[86_400.0, 3600.0, 60.0],
        Format::Bytes => &[1_099_511_627_776.0, 1_073_741_824.0, 1_048_576.0, 1024.0],
        _ => &[],
    };
    units.iter().copied().find(|unit| max >= *unit).unwrap_or(1.0)
}

/// From where to where the figures go, as powers of ten, and the labels.
pub(super) fn logarithmic(points: impl Iterator<Item = f64>) -> (f64, f64, Vec<f64>) {
    let logs = points.filter(|point| *point > 0.0).map(f64::log10);
    let (least, most) =
        logs.fold((f64::MAX, f64::MIN), |(least, most), log| (least.min(log), most.max(log)));
    if least > most {
        return (-3.0, 0.0, vec![-3.0, -2.0, -1.0, 0.0]);
    }
    let (from, to) = (least.floor(), most.ceil().max(least.floor() + 1.0));
    let every = ((to - from) / 5.0).ceil().max(1.0);
    let mut ticks: Vec<f64> =
        (0..).map(|n| from + f64::from(n) * every).take_while(|t| *t <= to).collect();
    if to - from < 1.5 {
        ticks.extend([2.0_f64, 5.0].map(|n| from + n.log10()));
    }
    (from, to, ticks)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_round_and_few() {
        let check = |n: u64, of_step: u64, labels: &[&str]| {
            let step = |n| Step {
                at_ms: (1000 * DAY + 607 + n * of_step) * MINUTE_MS,
                time: Duration::from_secs(60 * of_step),
                ..Step::default()
            };
            let times = Times::of(&(0..n).map(step).collect::<Vec<_>>());
            let found: Vec<_> = times.ticks().iter().map(|tick| times.label(*tick)).collect();
            assert_eq!(found, labels, "{n} of {of_step}");
        };
        check(60, 1, &["10:15", "10:30", "10:45", "11:00"]);
        check(96, 5, &["12:00", "14:00", "16:00", "18:00"]);
        check(96, 30, &["Wed 12:00", "Thu 00:00", "Thu 12:00", "Fri 00:00"]);
        check(0, 1, &["00:00"]);
    }

    #[test]
    fn figures_are_round_and_few() {
        let check = |max: f64, format: Format, end: f64, labels: &[&str]| {
            let (found, ticks) = linear(max, format, 4.0);
            let texts: Vec<_> = ticks.iter().map(|tick| format.show(*tick)).collect();
            assert!((found / end - 1.0).abs() < 1e-9, "{max}: {found}");
            assert_eq!(texts, labels, "{max}");
        };
        check(0.0, Format::Rate, 1.0, &["0/s", "0.5/s", "1/s"]);
        check(37.0, Format::Rate, 40.0, &["0/s", "10/s", "20/s", "30/s", "40/s"]);
        check(1.0, Format::Count, 1.0, &["0", "1"]);
        check(270.0, Format::Seconds, 360.0, &["0 s", "2 m", "4 m", "6 m"]);
        check(90.0, Format::Seconds, 90.0, &["0 s", "30 s", "1 m", "1.5 m"]);
        check(3_000_000_000.0, Format::Bytes, 3_221_225_472.0, &["0 B", "1 GiB", "2 GiB", "3 GiB"]);
        check(0.02, Format::Percent, 1.0, &["0 %", "50 %", "100 %"]);
    }

    #[test]
    fn decades_hold_the_figures() {
        let check = |points: &[f64], from: f64, to: f64, n: usize| {
            let (least, most, ticks) = logarithmic(points.iter().copied());
            assert_eq!((least, most, ticks.len()), (from, to, n), "{points:?}");
        };
        check(&[], -3.0, 0.0, 4);
        check(&[0.002, 0.3], -3.0, 0.0, 4);
        check(&[0.004, 0.006], -3.0, -2.0, 4);
        check(&[0.001], -3.0, -2.0, 4);
        check(&[1e-6, 600_000.0], -6.0, 6.0, 5);
    }
}
