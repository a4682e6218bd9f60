//! Every section and key that a configuration may have, and the nearest one to a typo.

/// The sections of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Kafka,
    Source,
    Destination,
    Transform,
    Run,
    DeadLetter,
    Admin,
}

impl Section {
    pub(super) const ALL: [Section; 7] = [
        Section::Kafka,
        Section::Source,
        Section::Destination,
        Section::Transform,
        Section::Run,
        Section::DeadLetter,
        Section::Admin,
    ];

    /// The name as it stands in the file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Section::Kafka => "kafka",
            Section::Source => "source",
            Section::Destination => "destination",
            Section::Transform => "transform",
            Section::Run => "run",
            Section::DeadLetter => "dead_letter",
            Section::Admin => "admin",
        }
    }

    /// The keys; those of `[kafka]` are the known [properties](super::properties).
    pub(super) fn keys(self) -> Vec<&'static str> {
        match self {
            Section::Kafka => super::properties::names().collect(),
            Section::Source => vec!["topic", "group", "auto_offset_reset", "on_gap"],
            Section::Destination => vec!["topic", "create"],
            Section::Transform => vec!["kind", "field", "digest"],
            Section::Run => vec![
                "strategy",
                "workers",
                "order",
                "delivery",
                "on_panic",
                "engine",
                "memory",
                "retries",
                "commit_interval",
                "drain_timeout",
                "connect_timeout",
                "give_up_after",
                "until_caught_up",
            ],
            Section::DeadLetter => vec!["topic"],
            Section::Admin => vec!["listen"],
        }
    }

    pub(super) fn find(name: &str) -> Option<Section> {
        Section::ALL.into_iter().find(|section| section.name() == name)
    }
}

/// A key of a section, as `[run] workers`.
pub(super) fn subject(section: Section, key: &str) -> String {
    format!("[{}] {key}", section.name())
}

/// `unknown …`, with the nearest known name when one is near.
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = known.into_iter().map(|known| (distance(name, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 2.max(name.len() / 4) => {
            format!("unknown {what}; did you mean `{known}`?")
        }
        _ => format!("unknown {what}"),
    }
}

/// The Levenshtein distance: how many characters must change, come or go.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_key() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(unknown("key", "worker", Section::Run.keys()), "unknown key; did you mean `workers`?");
        assert_eq!(unknown("key", "colour", Section::Run.keys()), "unknown key");
    }
}
