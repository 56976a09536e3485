//! The statistics: medians, intervals by the bootstrap, paired ratios, and what stands out.
//!
//! Times on a busy machine have a long tail on one side and no known shape, so nothing here takes a normal distribution
//! for granted: the middle is the median, and intervals come from resampling (Efron and Tibshirani, "An Introduction to
//! the Bootstrap", 13.3: the percentile interval). The resampling is seeded, so that a report can be made again from
//! its samples.

use serde::{Deserialize, Serialize};

/// A middle and the interval that holds it with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Half of the interval's width as a part of the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.median
    }
}

/// Resamples of an interval: percentiles of 2.5 % stand on 50 of them.
const RESAMPLES: usize = 2000;

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The quantile `q` (0 to 1), between neighbours in proportion (Hyndman and Fan, type 7).
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    of_sorted(&sorted, q)
}

fn of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q * last as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * part)
}

/// The median and its interval; `None` of nothing. Of one value the interval is that value: it says nothing then, and
/// whoever shows it says how many there are.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let median = median(values)?;
    let mut rng = Rng(0x5eed_be4c);
    let mut resample = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        resample.fill_with(|| values[rng.below(values.len())]);
        resample.sort_by(f64::total_cmp);
        medians.extend(of_sorted(&resample, 0.5));
    }
    medians.sort_by(f64::total_cmp);
    Some(Estimate { median, low: of_sorted(&medians, 0.025)?, high: of_sorted(&medians, 0.975)? })
}

/// The median of `over` by that of `under`, for samples that are no pairs; `None` if either is empty.
pub fn ratio_of_medians(over: &[f64], under: &[f64]) -> Option<Estimate> {
    let ratio = median(over)? / median(under)?;
    let mut rng = Rng(0x5eed_2a71);
    let mut draw = |values: &[f64]| {
        let mut resample: Vec<f64> = (0..values.len()).map(|_| values[rng.below(values.len())]).collect();
        resample.sort_by(f64::total_cmp);
        of_sorted(&resample, 0.5)
    };
    let mut ratios = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        ratios.push(draw(over)? / draw(under)?);
    }
    ratios.sort_by(f64::total_cmp);
    Some(Estimate { median: ratio, low: of_sorted(&ratios, 0.025)?, high: of_sorted(&ratios, 0.975)? })
}

/// `over / under` of each pair.
pub fn ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Vec<f64> {
    pairs.into_iter().map(|(over, under)| over / under).collect()
}

/// The geometric mean; `None` of nothing. What ratios are averaged by.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logs: f64 = values.iter().map(|v| v.ln()).sum();
    (!values.is_empty()).then(|| (logs / values.len() as f64).exp())
}

/// The positions of values that stand apart: more than one and a half times the distance of the quartiles beyond them
/// (Tukey). They are shown, never dropped.
pub fn outliers(values: &[f64]) -> Vec<usize> {
    let (Some(low), Some(high)) = (quantile(values, 0.25), quantile(values, 0.75)) else { return Vec::new() };
    let reach = 1.5 * (high - low);
    let apart = |v: f64| v < low - reach || v > high + reach;
    (0..values.len()).filter(|&i| apart(values[i])).collect()
}

/// Steele, Lea and Flood's SplitMix: enough to draw with.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn quantiles_are_those_of_the_textbook() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        // R: quantile(c(1, 2, 4, 8, 16), c(.25, .75, .9))
        let values = [16.0, 1.0, 8.0, 2.0, 4.0];
        close(quantile(&values, 0.25).unwrap(), 2.0);
        close(quantile(&values, 0.75).unwrap(), 8.0);
        close(quantile(&values, 0.9).unwrap(), 12.8);
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (Some(1.0), Some(16.0)));
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        // 400 samples of 21 numbers of a skewed distribution with the median ln 2.
        let mut rng = Rng(7);
        let mut uniform = || (rng.next() >> 11) as f64 / (1u64 << 53) as f64;
        let held = (0..400)
            .filter(|_| {
                let sample: Vec<f64> = (0..21).map(|_| -(1.0 - uniform()).ln()).collect();
                let e = estimate(&sample).unwrap();
                e.low <= std::f64::consts::LN_2 && std::f64::consts::LN_2 <= e.high
            })
            .count();
        assert!((360..=396).contains(&held), "{held} of 400 intervals hold the median; about 380 should");
    }

    #[test]
    fn intervals_lie_around_the_median_and_shrink() {
        let few: Vec<f64> = (0..5).map(f64::from).collect();
        let many: Vec<f64> = (0..500).map(|i| f64::from(i % 5)).collect();
        let (few, many) = (estimate(&few).unwrap(), estimate(&many).unwrap());
        assert!(few.low <= few.median && few.median <= few.high);
        assert!(many.high - many.low < few.high - few.low);
        let one = estimate(&[3.5]).unwrap();
        assert_eq!((one.low, one.median, one.high), (3.5, 3.5, 3.5));
        assert_eq!(estimate(&[]), None);
        // The same samples give the same report.
        assert_eq!(estimate(&[1.0, 5.0, 2.0]), estimate(&[1.0, 5.0, 2.0]));
    }

    #[test]
    fn ratios_are_of_pairs() {
        // One noisy round slows both: its ratio is as good as the others'.
        let slow = ratios([(2.0, 1.0), (20.0, 10.0), (2.2, 1.1)]);
        let e = estimate(&slow).unwrap();
        close(e.median, 2.0);
        close(e.low, 2.0);
        close(e.high, 2.0);
    }

    #[test]
    fn medians_of_two_samples() {
        let (a, b) = ([10.0, 11.0, 9.0, 10.0, 10.5], [20.0, 21.0, 19.0, 20.0, 100.0]);
        let e = ratio_of_medians(&b, &a).unwrap();
        close(e.median, 2.0);
        assert!(e.low > 1.5 && e.low <= 2.0 && e.high >= 2.0, "{e:?}");
        assert_eq!(ratio_of_medians(&[], &a), None);
    }

    #[test]
    fn geometric_means() {
        assert_eq!(geometric_mean(&[]), None);
        close(geometric_mean(&[2.0, 8.0]).unwrap(), 4.0);
        close(geometric_mean(&[0.5, 2.0]).unwrap(), 1.0);
    }

    #[test]
    fn what_stands_apart() {
        assert_eq!(outliers(&[]), Vec::<usize>::new());
        assert_eq!(outliers(&[1.0, 1.1, 0.9, 1.0, 5.0, 1.05]), vec![4]);
        assert_eq!(outliers(&[1.0, 1.0, 1.0]), Vec::<usize>::new());
    }
}
