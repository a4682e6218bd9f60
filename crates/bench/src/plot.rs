//! Horizontal bars as SVG, readable on a light and on a dark background.

use std::fmt::Write as _;

use super::format::grouped;

/// The width of the picture in pixels.
const WIDTH: f64 = 760.0;
/// Where the bars start: left of it stand their labels.
const LEFT: f64 = 250.0;
/// The room on the right for the longest bar's value.
const RIGHT: f64 = 96.0;
/// Where the first group starts, below title and note.
const TOP: f64 = 64.0;
/// The height of a bar with the space to the next.
const ROW: f64 = 26.0;
/// The height of a bar.
const BAR: f64 = 16.0;
/// The height of a group's label.
const LABEL: f64 = 28.0;
/// A bar is at least this wide, so that it is seen.
const LEAST: f64 = 1.5;

const STYLE: &str = "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}\
.title{font-size:17px;font-weight:600}.note{fill:#57606a}.group{font-weight:600}\
.bar{fill:#8c959f}.ours{fill:#0969da}.axis{stroke:#d0d7de}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#8d96a0}\
.bar{fill:#6e7681}.ours{fill:#4493f8}.axis{stroke:#3d444d}}";

/// A plot of groups of bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// Under which circumstances.
    pub note: String,
    /// The unit of the values.
    pub unit: &'static str,
    /// The groups from top to bottom.
    pub groups: Vec<Group>,
}

/// Bars with a common label.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The label; an empty one takes no room.
    pub label: String,
    /// The bars from top to bottom.
    pub bars: Vec<Bar>,
}

/// A value with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The label; what starts with the program's name stands out.
    pub label: String,
    /// The value, not negative.
    pub value: f64,
}

impl Group {
    /// A bar of its own.
    pub fn single(label: &str, value: f64) -> Group {
        Group { label: String::new(), bars: vec![Bar { label: label.into(), value }] }
    }
}

impl Plot {
    /// The picture.
    pub fn svg(&self) -> String {
        let most = self.groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value).fold(0.0, f64::max);
        let scale = if most > 0.0 { (WIDTH - LEFT - RIGHT) / most } else { 0.0 };
        let mut body = String::new();
        let mut y = TOP;
        for group in &self.groups {
            if !group.label.is_empty() {
                text(&mut body, "group", (16.0, y + LABEL - 10.0), "start", &group.label);
                y += LABEL;
            }
            for bar in &group.bars {
                let ours = bar.label.starts_with("topicmill") || group.label.starts_with("topicmill");
                draw(&mut body, bar, y, (bar.value * scale).max(LEAST), ours);
                y += ROW;
            }
        }
        let (height, end) = (y + 16.0, y - ROW + BAR + 6.0);
        let mut head = String::new();
        text(&mut head, "title", (16.0, 28.0), "start", &format!("{} ({})", self.title, self.unit));
        text(&mut head, "note", (16.0, 48.0), "start", &self.note);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n{head}\
             <line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{}\" y2=\"{end}\"/>\n{body}</svg>\n",
            escaped(&self.title),
            TOP - 6.0
        )
    }
}

fn draw(out: &mut String, bar: &Bar, y: f64, width: f64, ours: bool) {
    let class = if ours { "bar ours" } else { "bar" };
    let baseline = y + BAR - 3.0;
    text(out, "label", (LEFT - 8.0, baseline), "end", &bar.label);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>"
    );
    text(out, "value", (LEFT + width + 6.0, baseline), "start", &number(bar.value));
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, content: &str) {
    let content = escaped(content);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"
    );
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::results;

    /// Whether every tag is closed by its own and every `&` starts an entity.
    fn assert_well_formed(xml: &str) {
        let mut open = Vec::new();
        let mut rest = xml;
        while let Some((before, after)) = rest.split_once('<') {
            assert!(!before.contains('>'), "{before}");
            let (tag, after) = after.split_once('>').expect("a tag ends");
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap()),
            }
            rest = after;
        }
        assert_eq!((open, rest.trim()), (Vec::new(), ""));
        for (_, entity) in xml.match_indices('&').map(|(at, _)| xml.split_at(at)) {
            assert!(["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|known| entity.starts_with(known)));
        }
    }

    #[test]
    fn every_plot_is_well_formed() {
        let plots = results().plots();
        assert_eq!(plots.len(), 5);
        for (_, plot) in plots {
            let svg = plot.svg();
            assert_well_formed(&svg);
            let bars: usize = plot.groups.iter().map(|group| group.bars.len()).sum();
            assert_eq!(svg.matches("<rect").count(), bars);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_value_and_labelled() {
        let groups = vec![Group::single("topicmill pipeline", 400.0), Group::single("other", 100.0)];
        let plot = Plot { title: "T".into(), note: "n".into(), unit: "u", groups };
        let svg = plot.svg();
        assert!(svg.contains("width=\"414.0\"") && svg.contains("width=\"103.5\""), "{svg}");
        assert!(svg.contains(">topicmill pipeline</text>") && svg.contains(">T (u)</text>"), "{svg}");
        assert_eq!(svg.matches("bar ours").count(), 1);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.07144, "0.071"), (1.5, "1.50"), (12.345, "12.3"), (5e6, "5,000,000")] {
            assert_eq!(number(value), text);
        }
    }
}
