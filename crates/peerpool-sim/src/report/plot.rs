//! Curves as SVG: a file that any browser opens, the same text for the same figures.

use std::fmt::Write as _;
use std::time::Duration;

use super::{DAY, Figures, Sample};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 784.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 308.0;

const BLUE: &str = "#1f6fb2";
const PALE: &str = "#8fbbe0";
const RED: &str = "#c22f2f";
const GREY: &str = "#666666";

/// Ready peers over time: their mean, and the fewest, which a mean hides.
pub fn ready_peers(figures: &Figures) -> String {
    let every = interval(figures);
    let curves = [
        Curve::new(format!("fewest in {every}"), PALE, figures, |at| f64::from(at.ready_least)),
        Curve::new(format!("mean of {every}"), BLUE, figures, |at| at.ready_mean),
    ];
    draw("ready peers", "peers", figures, &curves)
}

/// The attacker's slots over time, below all those that are filled.
pub fn hostile_slots(figures: &Figures) -> String {
    let every = interval(figures);
    let curves = [
        Curve::new("ready peers".to_owned(), PALE, figures, |at| at.ready_mean),
        Curve::new(format!("attacker's, mean of {every}"), RED, figures, |at| at.hostile_mean),
    ];
    draw("attacker's slots", "slots", figures, &curves)
}

struct Curve {
    name: String,
    color: &'static str,
    /// The end of each interval, and the value in it.
    points: Vec<(Duration, f64)>,
}

impl Curve {
    fn new(
        name: String,
        color: &'static str,
        figures: &Figures,
        value: impl Fn(&Sample) -> f64,
    ) -> Self {
        let points = figures.curve.iter().map(|sample| (sample.at, value(sample))).collect();
        Self { name, color, points }
    }
}

/// What time is counted in along the axis.
#[derive(Clone, Copy)]
struct Unit {
    name: &'static str,
    short: &'static str,
    length: Duration,
}

const UNITS: [Unit; 4] = [
    Unit { name: "days", short: "d", length: DAY },
    Unit { name: "hours", short: "h", length: Duration::from_secs(60 * 60) },
    Unit { name: "minutes", short: "min", length: Duration::from_secs(60) },
    Unit { name: "seconds", short: "s", length: Duration::from_secs(1) },
];

impl Unit {
    /// The largest of which `time` has as many as `least`.
    fn of(time: Duration, least: u32) -> Self {
        let found = UNITS.into_iter().find(|unit| time >= unit.length * least);
        found.unwrap_or(UNITS[UNITS.len() - 1])
    }

    fn count(self, time: Duration) -> f64 {
        time.as_secs_f64() / self.length.as_secs_f64()
    }
}

/// The length of a sample, in words.
fn interval(figures: &Figures) -> String {
    let every = figures.curve.first().map_or(Duration::ZERO, |sample| sample.at);
    let unit = Unit::of(every, 1);
    let count = format!("{:.1}", unit.count(every));
    format!("{} {}", count.trim_end_matches(".0"), unit.short)
}

/// Where values lie on the picture.
struct Frame {
    unit: Unit,
    x_end: f64,
    y_end: f64,
}

impl Frame {
    fn x(&self, at: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * at / self.x_end
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.y_end
    }
}

fn draw(title: &str, y_label: &str, figures: &Figures, curves: &[Curve]) -> String {
    let most = curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
    let most = most.fold(figures.target as f64, f64::max);
    let unit = Unit::of(figures.lasted, 3);
    let y_step = step(most, 8);
    let frame = Frame {
        unit,
        x_end: unit.count(figures.lasted).max(f64::MIN_POSITIVE),
        // A curve at the target is not to lie on the edge.
        y_end: (most * 1.1).max(most + y_step / 4.0),
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" \
         fill=\"#222222\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n"
    );
    axes(&mut svg, &frame, y_step, y_label);
    let target = frame.y(figures.target as f64);
    put(
        &mut svg,
        format_args!(
            "<path d=\"M{LEFT} {target:.1}H{RIGHT}\" stroke=\"{GREY}\" stroke-dasharray=\"5 4\"/>"
        ),
    );
    for curve in curves {
        line(&mut svg, &frame, curve);
    }
    legend(&mut svg, curves);
    svg + "</svg>\n"
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = writeln!(svg, "{line}");
}

/// Ticks, their numbers, and what is counted.
fn axes(svg: &mut String, frame: &Frame, y_step: f64, y_label: &str) {
    for value in ticks(frame.y_end, y_step) {
        let y = frame.y(value);
        put(svg, format_args!("<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#e4e4e4\"/>"));
        let (x, y) = (LEFT - 8.0, y + 4.0);
        put(svg, format_args!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value}</text>"));
    }
    for at in ticks(frame.x_end, step(frame.x_end, 10)) {
        let (x, tick) = (frame.x(at), BOTTOM + 5.0);
        put(svg, format_args!("<path d=\"M{x:.1} {BOTTOM}V{tick}\" stroke=\"#222222\"/>"));
        let y = BOTTOM + 19.0;
        put(svg, format_args!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{at}</text>"));
    }
    put(
        svg,
        format_args!(
            "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#222222\"/>"
        ),
    );
    let (middle, y) = ((LEFT + RIGHT) / 2.0, BOTTOM + 40.0);
    put(
        svg,
        format_args!(
            "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
            frame.unit.name
        ),
    );
    let middle = (TOP + BOTTOM) / 2.0;
    put(
        svg,
        format_args!(
            "<text x=\"18\" y=\"{middle}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 18 {middle})\">{y_label}</text>"
        ),
    );
}

/// One curve, as steps.
fn line(svg: &mut String, frame: &Frame, curve: &Curve) {
    let Some((_, first)) = curve.points.first() else { return };
    let mut path = format!("M{LEFT} {:.1}", frame.y(*first));
    let mut last = None;
    for (at, value) in &curve.points {
        let (x, y) = (frame.x(frame.unit.count(*at)), format!("{:.1}", frame.y(*value)));
        if last.as_ref().is_some_and(|last| *last != y) {
            path += &format!("V{y}");
        }
        path += &format!("H{x:.1}");
        last = Some(y);
    }
    put(
        svg,
        format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>",
            curve.color
        ),
    );
}

/// What the colors mean, from the right.
fn legend(svg: &mut String, curves: &[Curve]) {
    let target = ("target", GREY, " stroke-dasharray=\"5 4\"");
    let entries = curves.iter().map(|curve| (curve.name.as_str(), curve.color, ""));
    let mut right = RIGHT;
    for (name, color, dashes) in [target].into_iter().chain(entries) {
        // Measured in letters: which font a reader has, nobody knows.
        let start = right - 27.0 - 6.0 * name.len() as f64;
        let (end, text) = (start + 22.0, start + 27.0);
        put(
            svg,
            format_args!(
                "<path d=\"M{start:.1} 20H{end:.1}\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>\
                 <text x=\"{text:.1}\" y=\"24\">{name}</text>"
            ),
        );
        right = start - 18.0;
    }
}

/// The least of 1, 2, 5, 10, 20, ... that makes no more than `ticks` steps up to `end`.
fn step(end: f64, ticks: u32) -> f64 {
    let mut decade = 1.0;
    loop {
        for step in [decade, 2.0 * decade, 5.0 * decade] {
            if end <= step * f64::from(ticks) {
                return step;
            }
        }
        decade *= 10.0;
    }
}

fn ticks(end: f64, step: f64) -> impl Iterator<Item = f64> {
    (0..).map(move |tick| f64::from(tick) * step).take_while(move |tick| *tick <= end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let sample = |hour: u64, ready_mean, hostile_mean| Sample {
            at: Duration::from_secs(hour * 3600),
            ready: 0,
            hostile: 0,
            ready_mean,
            hostile_mean,
            ready_least: 1,
            hostile_most: 0,
        };
        let curve = vec![sample(1, 4.0, 0.0), sample(2, 4.0, 1.0), sample(4, 8.0, 0.5)];
        Figures { lasted: Duration::from_secs(4 * 3600), target: 8, curve, ..Figures::default() }
    }

    #[test]
    fn a_curve_is_steps_within_the_frame() {
        let svg = hostile_slots(&figures());
        // 4 h from 56 to 784, 0 to 8.8 peers from 308 to 44; one step a change.
        assert!(svg.contains("\"M56 188.0H238.0H420.0V68.0H784.0\""), "{svg}");
        assert!(svg.contains("\"M56 308.0H238.0V278.0H420.0V293.0H784.0\""), "{svg}");
        assert!(svg.contains("<path d=\"M56 68.0H784\" stroke=\"#666666\""), "no target: {svg}");
        let ready = ready_peers(&figures());
        assert!(ready.contains("\"M56 278.0H238.0H420.0H784.0\""), "no fewest: {ready}");
    }

    #[test]
    fn words_say_what_is_counted() {
        let svg = ready_peers(&figures());
        for word in ["ready peers", "peers", "hours", "target", "mean of 1 h", "fewest in 1 h"] {
            assert!(svg.contains(&format!(">{word}</text>")), "{word}: {svg}");
        }
        assert!(hostile_slots(&figures()).contains(">attacker's, mean of 1 h</text>"));
    }

    #[test]
    fn the_file_is_well_formed_and_always_the_same() {
        for figures in [figures(), Figures::default()] {
            let svg = ready_peers(&figures);
            assert_eq!(svg, ready_peers(&figures));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let mut open = Vec::new();
            for tag in svg.split('<').skip(1) {
                let (tag, _) = tag.split_once('>').expect("a tag ends");
                match tag.strip_prefix('/') {
                    Some(name) => assert_eq!(open.pop(), Some(name), "{svg}"),
                    None if tag.ends_with('/') => {}
                    None => open.push(tag.split(' ').next().unwrap_or(tag)),
                }
                assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            }
            assert_eq!(open, Vec::<&str>::new(), "{svg}");
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (end, most, expected) in
            [(0.5, 8, 1.0), (8.0, 8, 1.0), (8.8, 8, 2.0), (125.0, 8, 20.0), (30.0, 10, 5.0)]
        {
            assert_eq!(step(end, most), expected, "{end}");
        }
        assert_eq!(ticks(8.8, 2.0).collect::<Vec<_>>(), [0.0, 2.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    fn intervals_are_told_in_a_fitting_unit() {
        for (seconds, text) in [(3600, "1 h"), (5400, "1.5 h"), (172_800, "2 d"), (0, "0 s")] {
            let mut figures = figures();
            figures.curve[0].at = Duration::from_secs(seconds);
            assert_eq!(interval(&figures), text);
        }
    }
}
