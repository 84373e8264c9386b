//! Numbers in another form.

/// A count as a floating-point number, exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
#[must_use]
pub fn approximate(number: u64) -> f64 {
    number as f64
}
