//! Plots as SVG, written so that the page's style sheet colours them: light, dark, and paper show the same drawing.
//! Series `i` has the classes `s{i}` (a fill) and `l{i}` (a line).

use std::fmt::Write;

/// Text in XML, also between quotes of either kind.
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// A value with the interval around it.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pub series: usize,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// A row of [`ratio_rows`].
pub struct Row {
    pub label: String,
    pub marks: Vec<Mark>,
}

const ROW: f64 = 22.0;
const LABEL: f64 = 132.0;
/// Narrow, so that the text is legible on a phone, where the whole drawing shrinks.
const WIDTH: f64 = 480.0;

/// Bars from 1 to left or right on a logarithmic axis, a row a benchmark: how many times the reference's time.
pub fn ratio_rows(rows: &[Row], title: &str) -> String {
    let marks = || rows.iter().flat_map(|r| &r.marks);
    let low = marks().map(|m| m.low).fold(0.5, f64::min).max(1e-3);
    let high = marks().map(|m| m.high).fold(2.0, f64::max).min(1e3);
    // Lines stand at powers so far apart that they are few, counted from 1, which always has one.
    let span = high.log2().ceil() - low.log2().floor();
    let step = (span / 8.0).ceil().max(1.0);
    let (from, to) = ((low.log2() / step).floor() * step, (high.log2() / step).ceil() * step);
    let x = |v: f64| LABEL + (v.log2().clamp(from, to) - from) / (to - from) * (WIDTH - LABEL - 60.0);
    let series = rows.iter().map(|r| r.marks.len()).max().unwrap_or(1).max(1) as f64;
    let thickness = (ROW - 6.0) / series;
    let height = 24.0 + rows.len() as f64 * ROW + 8.0;
    let mut s = open(WIDTH, height, title);
    for power in (from as i32..=to as i32).step_by(step as usize) {
        let value = f64::from(power).exp2();
        let at = x(value);
        let class = if power == 0 { "axis" } else { "grid" };
        let _ = write!(s, "<line class='{class}' x1='{at:.1}' x2='{at:.1}' y1='18' y2='{:.1}'/>", height - 6.0);
        let name = if power < 0 { format!("1/{}", (-f64::from(power)).exp2()) } else { format!("{value}") };
        let _ = write!(s, "<text class='tick' x='{at:.1}' y='13' text-anchor='middle'>{name}</text>");
    }
    for (i, row) in rows.iter().enumerate() {
        let top = 24.0 + i as f64 * ROW;
        let _ = write!(
            s,
            "<text x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>",
            LABEL - 8.0,
            top + ROW / 2.0,
            escape(&row.label)
        );
        for (n, m) in row.marks.iter().enumerate() {
            let y = top + n as f64 * thickness;
            let (a, b) = (x(1.0).min(x(m.value)), x(1.0).max(x(m.value)));
            let text = format!("{:.2}", m.value);
            let _ = write!(
                s,
                "<rect class='s{}' x='{a:.1}' y='{y:.1}' width='{:.1}' height='{:.1}'><title>{} x{text}</title></rect>",
                m.series,
                (b - a).max(1.0),
                thickness - 1.0,
                escape(&row.label)
            );
            let middle = y + thickness / 2.0 - 0.5;
            let _ = write!(
                s,
                "<line class='whisker' x1='{:.1}' x2='{:.1}' y1='{middle:.1}' y2='{middle:.1}'/>",
                x(m.low),
                x(m.high)
            );
            let _ = write!(
                s,
                "<text class='value' x='{:.1}' y='{:.1}'>{text}</text>",
                x(m.high).max(b) + 4.0,
                middle + 3.5
            );
        }
    }
    s + "</svg>"
}

/// A line of [`lines`].
pub struct Series {
    pub series: usize,
    pub points: Vec<(f64, f64)>,
}

/// An axis: whether it is logarithmic, and how its values are written.
pub struct Axis<'a> {
    pub log: bool,
    pub name: &'a str,
    pub show: &'a dyn Fn(f64) -> String,
}

/// Curves over a common axis.
pub fn lines(series: &[Series], x: &Axis, y: &Axis, title: &str) -> String {
    const HEIGHT: f64 = 260.0;
    let (left, right, top, bottom) = (70.0, 26.0, 16.0, 40.0);
    let all = || series.iter().flat_map(|s| &s.points);
    let xs = Span::of(all().map(|p| p.0), x.log);
    let ys = Span::of(all().map(|p| p.1).chain((!y.log).then_some(0.0)), y.log);
    let px = |v: f64| left + xs.part(v) * (WIDTH - left - right);
    let py = |v: f64| HEIGHT - bottom - ys.part(v) * (HEIGHT - top - bottom);
    let mut s = open(WIDTH, HEIGHT, title);
    for tick in ys.ticks(5) {
        let at = py(tick);
        let _ = write!(s, "<line class='grid' x1='{left}' x2='{:.1}' y1='{at:.1}' y2='{at:.1}'/>", WIDTH - right);
        let _ = write!(
            s,
            "<text class='tick' x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>",
            left - 6.0,
            at + 4.0,
            escape(&(y.show)(tick))
        );
    }
    let mut ticks: Vec<f64> = all().map(|p| p.0).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let every = ticks.len().div_ceil(8).max(1);
    for tick in ticks.iter().step_by(every) {
        let _ = write!(
            s,
            "<text class='tick' x='{:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
            px(*tick),
            HEIGHT - bottom + 16.0,
            escape(&(x.show)(*tick))
        );
    }
    let _ = write!(
        s,
        "<text class='tick' x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>",
        WIDTH - right,
        HEIGHT - 6.0,
        escape(x.name)
    );
    let _ = write!(s, "<text class='tick' x='4' y='10'>{}</text>", escape(y.name));
    for line in series {
        let path: Vec<String> = line.points.iter().map(|(a, b)| format!("{:.1},{:.1}", px(*a), py(*b))).collect();
        let _ = write!(s, "<polyline class='l{}' points='{}'/>", line.series, path.join(" "));
        for (a, b) in &line.points {
            let _ = write!(
                s,
                "<circle class='s{}' cx='{:.1}' cy='{:.1}' r='3'><title>{}: {}</title></circle>",
                line.series,
                px(*a),
                py(*b),
                escape(&(x.show)(*a)),
                escape(&(y.show)(*b))
            );
        }
    }
    s + "</svg>"
}

/// Parts of a whole, a bar a row; parts are coloured by their place.
pub fn stacks(rows: &[(String, Vec<(String, f64)>)], title: &str, show: &dyn Fn(f64) -> String) -> String {
    let most = rows.iter().map(|(_, parts)| parts.iter().map(|p| p.1).sum::<f64>()).fold(1e-9, f64::max);
    let height = 8.0 + rows.len() as f64 * ROW + 4.0;
    let mut s = open(WIDTH, height, title);
    for (i, (label, parts)) in rows.iter().enumerate() {
        let y = 6.0 + i as f64 * ROW;
        let _ =
            write!(s, "<text x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>", LABEL - 8.0, y + 12.0, escape(label));
        let mut x = LABEL;
        for (n, (kind, value)) in parts.iter().enumerate() {
            let width = value / most * (WIDTH - LABEL - 90.0);
            let _ = write!(
                s,
                "<rect class='s{n}' x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{:.1}'><title>{} {}</title></rect>",
                ROW - 8.0,
                escape(kind),
                escape(&show(*value))
            );
            x += width;
        }
        let total = parts.iter().map(|p| p.1).sum();
        let _ = write!(s, "<text class='value' x='{:.1}' y='{:.1}'>{}</text>", x + 4.0, y + 11.0, escape(&show(total)));
    }
    s + "</svg>"
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!("<svg viewBox='0 0 {width} {height:.0}' role='img' aria-label='{0}'><title>{0}</title>", escape(title))
}

/// A range of values on an axis.
struct Span {
    low: f64,
    high: f64,
    log: bool,
}

impl Span {
    fn of(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let values: Vec<f64> = values.filter(|v| v.is_finite() && (!log || *v > 0.0)).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match low < high {
            true => Self { low, high, log },
            // One value stands in the middle.
            false if low.is_finite() && log => Self { low: low / 2.0, high: low * 2.0, log },
            false if low.is_finite() => Self { low: low - 1.0, high: low + 1.0, log },
            false => Self { low: 1.0, high: 2.0, log },
        }
    }

    /// Where a value lies, from 0 to 1.
    fn part(&self, v: f64) -> f64 {
        let of = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        ((of(v) - of(self.low)) / (of(self.high) - of(self.low))).clamp(0.0, 1.0)
    }

    fn ticks(&self, count: usize) -> Vec<f64> {
        let at = |i: usize| i as f64 / (count - 1) as f64;
        (0..count)
            .map(|i| match self.log {
                true => self.low * (self.high / self.low).powf(at(i)),
                false => self.low + (self.high - self.low) * at(i),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let linear = Span::of([1.0, 3.0].into_iter(), false);
        assert_eq!((linear.part(1.0), linear.part(2.0), linear.part(3.0)), (0.0, 0.5, 1.0));
        let log = Span::of([1.0, 100.0, 0.0].into_iter(), true);
        assert!((log.part(10.0) - 0.5).abs() < 1e-9);
        assert!((log.ticks(3)[1] - 10.0).abs() < 1e-9);
        assert_eq!(Span::of([5.0].into_iter(), false).part(5.0), 0.5);
        assert_eq!(Span::of(std::iter::empty(), true).part(1.0), 0.0);
    }

    #[test]
    fn every_axis_has_a_line_at_one() {
        for (low, high) in [(0.9, 1.1), (0.3, 9.0), (0.4, 300.0), (0.04, 999.0), (0.001, 2.0)] {
            let marks = [low, high].map(|v| Mark { series: 0, value: v, low: v, high: v }).into();
            let svg = ratio_rows(&[Row { label: "row".into(), marks }], "title");
            assert_eq!(svg.matches("class='axis'").count(), 1, "{low} to {high}: {svg}");
            assert!(svg.matches("class='grid'").count() <= 9, "{low} to {high}: {svg}");
        }
    }

    #[test]
    fn names_cannot_break_the_drawing() {
        let rows = [Row { label: "<b>&".into(), marks: vec![Mark { series: 0, value: 2.0, low: 1.9, high: 2.1 }] }];
        let svg = ratio_rows(&rows, "one's \"title\"");
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"));
        assert!(svg.contains("aria-label='one&#39;s &quot;title&quot;'"), "{svg}");
    }
}
