//! Numbers as people read them.

use std::time::Duration;

use bytesize::ByteSize;

/// What stands where nothing is known.
pub const UNKNOWN: &str = "–";

/// A whole number: `12,345`.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number where there is little room: `999`, `1.6k`, `25k`, `1.0M`.
pub fn short(number: f64) -> String {
    let (value, unit) = match number {
        number if number < 999.5 => return count(number),
        number if number < 999_500.0 => (number / 1e3, "k"),
        number => (number / 1e6, "M"),
    };
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// How often in a second: `0.4`, `12`, `12,345`.
pub fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 { format!("{per_second:.1}") } else { count(per_second) }
}

/// A short time: `12 µs`, `3.4 ms`, `1.2 s`.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        seconds if seconds <= 0.0 => return "0 s".to_owned(),
        seconds if seconds < 0.001 => (seconds * 1e6, "µs"),
        seconds if seconds < 1.0 => (seconds * 1e3, "ms"),
        seconds => (seconds, "s"),
    };
    if value < 9.95 && unit != "µs" { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A long time, in its two largest units: `12 s`, `3 min 5 s`, `2 h 5 min`, `4 d 3 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let largest = units.iter().position(|(_, of)| seconds >= *of).unwrap_or(3);
    let (name, of) = units[largest];
    let first = format!("{} {name}", seconds / of);
    match units.get(largest + 1) {
        Some((name, smaller)) if seconds % of >= *smaller => format!("{first} {} {name}", seconds % of / smaller),
        _ => first,
    }
}

/// `64.0 MiB`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // no file and no memory is that large
pub fn bytes(bytes: f64) -> String {
    ByteSize(bytes.max(0.0) as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_format_is_short_and_grouped() {
        assert_eq!([0.0, 7.0, 999.0, 1000.0, 1_234_567.0].map(count), ["0", "7", "999", "1,000", "1,234,567"]);
        assert_eq!([-1.0, -123.0, -1234.0].map(count), ["-1", "-123", "-1,234"]);
        assert_eq!(
            [0.0, 999.0, 1640.0, 25_000.0, 999_499.0, 1e6].map(short),
            ["0", "999", "1.6k", "25k", "999k", "1.0M"]
        );
        assert_eq!([0.0, 0.42, 9.94, 9.96, 12_345.6].map(rate), ["0", "0.4", "9.9", "10", "12,346"]);
        assert_eq!(
            [0.0, 12e-6, 0.0034, 0.25, 1.25, 12.0].map(time),
            ["0 s", "12 µs", "3.4 ms", "250 ms", "1.2 s", "12 s"]
        );
        assert_eq!([0.0, 512.0, 67_108_864.0].map(bytes), ["0 B", "512 B", "64.0 MiB"]);
    }

    #[test]
    fn duration_format_has_at_most_two_units() {
        let said = [0, 59, 60, 185, 3600, 7500, 86_400, 357_000].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(said, ["0 s", "59 s", "1 min", "3 min 5 s", "1 h", "2 h 5 min", "1 d", "4 d 3 h"]);
    }
}
