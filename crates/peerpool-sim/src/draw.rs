//! Distributions that come out the same on every platform: of floating point only + - * / are
//! used, which IEEE 754 rounds exactly, where the system's `ln` may differ in the last bit.

use std::f64::consts::{LN_2, SQRT_2};
use std::time::Duration;

use peerpool_core::rng::Rng;

/// A hash of numbers, the same for ever: what depends on who it is about, and not on when it is
/// asked, is drawn from this instead of from a generator that would have to be kept.
///
/// Each part is mixed in by the steps of SplitMix64 (Steele, Lea, Flood 2014): its increment, then
/// its finalizer, which spreads each bit over all of them. Not against an adversary.
pub fn hash(seed: u64, parts: &[u64]) -> u64 {
    const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64| {
        let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ state >> 31
    };
    let first = mix(seed.wrapping_add(INCREMENT));
    parts.iter().fold(first, |state, part| mix(state.wrapping_add(INCREMENT) ^ part))
}

/// The number below `bound` that `bits` stand for; zero if `bound` is.
pub fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// A time that is exponentially distributed, as the one to the next event of a Poisson process is.
pub fn exponential(mean: Duration, rng: &mut Rng) -> Duration {
    // In (0, 1]: the logarithm of zero is no time.
    mean.mul_f64(-ln(1.0 - unit(rng.u64())))
}

/// A table of quantiles, between which values lie evenly.
#[derive(Clone, Copy, Debug)]
pub struct Quantiles(&'static [(f64, Duration)]);

impl Quantiles {
    /// A table of points: a share of all values, and what they do not exceed. The first share is 0
    /// and the last 1, shares rise, and values do not fall: a table of other points panics, at
    /// compile time where it is a constant.
    pub const fn new(points: &'static [(f64, Duration)]) -> Self {
        assert!(points.len() >= 2, "a least and a greatest value");
        assert!(points[0].0 == 0.0 && points[points.len() - 1].0 == 1.0, "shares from 0 to 1");
        let mut at = 1;
        while at < points.len() {
            let ((share, value), (next_share, next)) = (points[at - 1], points[at]);
            assert!(share < next_share, "shares rise");
            assert!(value.as_nanos() <= next.as_nanos(), "values do not fall");
            at += 1;
        }
        Self(points)
    }

    /// The value that `bits` stand for: random ones, or a [hash].
    pub fn at(&self, bits: u64) -> Duration {
        let share = unit(bits);
        let after = self.0.partition_point(|point| point.0 <= share);
        let ((from, value), (to, next)) = (self.0[after - 1], self.0[after]);
        value + (next - value).mul_f64((share - from) / (to - from))
    }
}

/// A number from 0 to 1, and below it, from random bits: as many of them as an f64 holds.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The natural logarithm of a positive, normal number, to within 1e-14 of its size.
fn ln(x: f64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    const BIAS: u64 = 1023;
    // x = m * 2^e with m in [1, 2), and from there m in [sqrt(1/2), sqrt(2)].
    let exponent = (x.to_bits() >> MANTISSA_BITS) as i64 - BIAS as i64;
    let mantissa = x.to_bits() & ((1 << MANTISSA_BITS) - 1);
    let m = f64::from_bits(mantissa | BIAS << MANTISSA_BITS);
    let (m, exponent) = if m > SQRT_2 { (m / 2.0, exponent + 1) } else { (m, exponent) };
    // ln m = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1), |s| < 0.172:
    // what is left out is below s^23 < 1e-17.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (0..11).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_hash_is_the_same_for_ever_and_depends_on_every_part() {
        // The first number of SplitMix64 from seed 0, as published.
        assert_eq!(hash(0, &[]), 0xe220_a839_7b1d_cdaf);
        let one = hash(7, &[1, 2, 3]);
        for other in [hash(8, &[1, 2, 3]), hash(7, &[2, 1, 3]), hash(7, &[1, 2]), hash(7, &[1])] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn one_bit_of_a_part_changes_half_of_a_hash() {
        let changed = |bit: u32| (hash(1, &[5, 6]) ^ hash(1, &[5 ^ (1 << bit), 6])).count_ones();
        let mean = f64::from((0..64).map(changed).sum::<u32>()) / 64.0;
        assert!((mean - 32.0).abs() < 2.0, "{mean}");
    }

    #[test]
    fn the_logarithm_is_the_systems() {
        let mut rng = Rng::from_u64(1);
        let small = (1..=1000).map(|k| f64::from(k) / (1u64 << 53) as f64);
        let any = std::iter::repeat_with(|| 1.0 - unit(rng.u64())).take(100_000);
        let edges = [1.0, 1.0 - f64::EPSILON, SQRT_2, SQRT_2 + 1e-15, 0.5, 2.0, 1e300, 1e-300];
        for x in small.chain(any).chain(edges) {
            let (ours, theirs) = (ln(x), x.ln());
            assert!((ours - theirs).abs() <= 1e-14 * theirs.abs(), "{x}: {ours}, not {theirs}");
        }
    }

    #[test]
    fn exponential_times_have_their_mean_and_their_tail() {
        let mut rng = Rng::from_u64(1);
        let times: Vec<_> = (0..100_000).map(|_| exponential(HOUR, &mut rng)).collect();
        let mean = times.iter().sum::<Duration>().as_secs_f64() / 1e5 / 3600.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let late = times.iter().filter(|&&time| time > HOUR * 3).count();
        assert!((late as f64 / 1e5 - 0.0498).abs() < 0.003, "e^-3, not {late} of 100,000");
    }

    #[test]
    fn quantiles_are_met_and_joined_by_lines() {
        const TABLE: Quantiles = Quantiles::new(&[
            (0.0, HOUR),
            (0.5, HOUR),
            (0.75, HOUR.saturating_mul(3)),
            (1.0, HOUR.saturating_mul(27)),
        ]);
        let eighths = [0, 4, 5, 6, 7].map(|eighths: u64| TABLE.at(eighths << 61) / 3600);
        assert_eq!(eighths, [1, 1, 2, 3, 15].map(Duration::from_secs));
        let last = TABLE.at(u64::MAX);
        assert!(last <= HOUR * 27 && last > HOUR * 26, "{last:?}");
    }

    #[test]
    #[should_panic(expected = "values do not fall")]
    fn a_table_that_falls_is_none() {
        Quantiles::new(&[(0.0, HOUR), (1.0, Duration::ZERO)]);
    }
}
