//! Figures as people read them.

/// Half a percent of rounding is nothing that a chart shows.
fn short(n: f64) -> String {
    match n.abs() {
        0.0 => "0".to_owned(),
        n if n >= 99.95 => format!("{n:.0}"),
        n if n >= 9.995 => trim(&format!("{n:.1}")),
        n if n >= 0.0995 => trim(&format!("{n:.2}")),
        n => trim(&format!("{n:.4}")),
    }
}

/// Without zeros behind the point.
fn trim(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn scaled(n: f64, step: f64, units: &[&str]) -> String {
    let (mut n, mut unit) = (n, 0);
    // What would be written as 1000 is 1 of the next.
    while n >= 0.9995 * step && unit + 1 < units.len() {
        n /= step;
        unit += 1;
    }
    format!("{}{}", short(n), units[unit])
}

/// 1.2k, 3M.
pub(super) fn count(n: f64) -> String {
    scaled(n, 1000.0, &["", "k", "M", "G"])
}

/// 512 MiB.
pub(super) fn bytes(n: f64) -> String {
    scaled(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

/// 12,345.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 250 µs, 1.5 ms, 30 s, 2 m, 3.5 h, 2 d.
pub(super) fn seconds(n: f64) -> String {
    let units =
        [(86_400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")];
    if n <= 0.0 {
        return "0 s".to_owned();
    }
    let (unit, name) = units.into_iter().find(|(unit, _)| n >= 0.9995 * unit).unwrap_or(units[5]);
    format!("{} {name}", short(n / unit))
}

/// 12.5 %, of a share from 0 to 1.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", trim(&format!("{:.1}", share * 100.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_keep_their_unit() {
        let check = |text: String, expect| assert_eq!(text, expect);
        check(count(0.0), "0");
        check(count(0.0167), "0.0167");
        check(count(3.456), "3.46");
        check(count(999.96), "1k");
        check(count(12_340.0), "12.3k");
        check(bytes(0.0), "0 B");
        check(bytes(1536.0), "1.5 KiB");
        check(bytes(2_147_483_648.0), "2 GiB");
        check(grouped(0), "0");
        check(grouped(999), "999");
        check(grouped(1_234_567), "1,234,567");
        check(seconds(0.0), "0 s");
        check(seconds(0.000_25), "250 µs");
        check(seconds(0.0123), "12.3 ms");
        check(seconds(0.9999), "1 s");
        check(seconds(90.0), "1.5 m");
        check(seconds(172_800.0), "2 d");
        check(percent(0.1234), "12.3 %");
        check(percent(1.0), "100 %");
        check(percent(0.0), "0 %");
    }
}
