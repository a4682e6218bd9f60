//! Changes to a document that leave every other byte as it was.

use std::{cmp::Reverse, ops::Range};

use topicmill_mill::transform::json::skip_space;

use super::Site;

/// Changes to one document, in any order, made by [`splice`](Edits::splice). Keeps its memory from one
/// document to the next.
///
/// A removal takes what is within with it, and a replacement as well: changes there are void.
/// Of two changes of the same bytes, the first one counts.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    cuts: Vec<Cut>,
    removals: Vec<Removal>,
    insertions: Vec<Insertion>,
    /// The new bytes of all of them.
    text: Vec<u8>,
}

/// Bytes of the document and those of `text` that stand in for them.
#[derive(Clone, Debug)]
struct Cut {
    bytes: Range<u32>,
    text: Range<usize>,
}

/// A member or an element to remove, and what stands around it.
#[derive(Clone, Copy, Debug)]
struct Removal {
    start: u32,
    end: u32,
    before: u32,
    after: u32,
}

/// A member to insert; its text begins with a comma, which may not be needed.
#[derive(Clone, Debug)]
struct Insertion {
    /// Where the object's braces stand.
    object: Range<u32>,
    text: Range<usize>,
}

impl Edits {
    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.cuts.clear();
        self.removals.clear();
        self.insertions.clear();
        self.text.clear();
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty() && self.removals.is_empty() && self.insertions.is_empty()
    }

    /// Puts `json`, a valid JSON value, in the place of the value at `site`.
    pub fn replace(&mut self, site: &Site, json: &[u8]) {
        self.cut(site.value.clone(), |text| text.extend_from_slice(json));
    }

    /// As [`replace`](Edits::replace), with the JSON that `write` appends.
    pub fn replace_with(&mut self, site: &Site, write: impl FnOnce(&mut Vec<u8>)) {
        self.cut(site.value.clone(), write);
    }

    /// Puts `key`, a JSON string with its quotes, in the place of the key at `site`. Does nothing to a
    /// value without a key.
    pub fn rename(&mut self, site: &Site, key: &[u8]) {
        if !site.key.is_empty() {
            self.cut(site.key.clone(), |text| text.extend_from_slice(key));
        }
    }

    /// Removes the value at `site`, with its key, one comma, and the white space between that comma and
    /// it. The outermost value cannot be removed: it becomes `null`.
    pub fn remove(&mut self, site: &Site) {
        if site.is_root() {
            return self.replace(site, b"null");
        }
        self.removals.push(Removal {
            start: site.start(),
            end: site.value.end,
            before: site.before,
            after: site.after,
        });
    }

    /// Inserts a member after the last one of `object`, which has to be an object: `key` is a JSON
    /// string with its quotes, `value` any JSON value.
    pub fn insert(&mut self, object: &Site, key: &[u8], value: &[u8]) {
        self.insert_with(object, key, |text| text.extend_from_slice(value));
    }

    /// As [`insert`](Edits::insert), with the value that `write` appends.
    pub fn insert_with(&mut self, object: &Site, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        self.text.push(b',');
        self.text.extend_from_slice(key);
        self.text.push(b':');
        write(&mut self.text);
        self.insertions.push(Insertion { object: object.value.clone(), text: start..self.text.len() });
    }

    fn cut(&mut self, bytes: Range<u32>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        write(&mut self.text);
        self.cuts.push(Cut { bytes, text: start..self.text.len() });
    }

    /// Appends `doc` with the changes to `out`, and forgets them.
    pub fn splice(&mut self, doc: &[u8], out: &mut Vec<u8>) {
        self.pieces(doc, |piece| out.extend_from_slice(piece));
        self.clear();
    }

    /// Hands the pieces of `doc` with the changes to `take`, if they are few, and forgets the changes.
    pub(crate) fn in_pieces(&mut self, doc: &[u8], take: impl FnOnce(&[&[u8]])) -> bool {
        const MOST_PIECES: usize = 25;
        let changes = self.cuts.len() + self.removals.len() + self.insertions.len();
        // Each change has two: what comes before, and what is new.
        if 2 * changes + 1 > MOST_PIECES {
            return false;
        }
        let mut pieces = [&[][..]; MOST_PIECES];
        let mut count = 0;
        self.pieces(doc, |piece| {
            if !piece.is_empty() {
                pieces[count] = piece;
                count += 1;
            }
        });
        take(&pieces[..count]);
        self.clear();
        true
    }

    /// The pieces of `doc` with the changes, in order: `emit` gets each.
    fn pieces<'e>(&'e mut self, doc: &'e [u8], mut emit: impl FnMut(&'e [u8])) {
        self.removals.sort_unstable_by_key(|removal| (removal.start, Reverse(removal.end)));
        self.place_insertions(doc);
        self.place_removals(doc);
        // The outer one first, a removal before a replacement, and the rest in the order that it was asked
        // for.
        self.cuts.sort_by_key(|cut| (cut.bytes.start, Reverse(cut.bytes.end), !cut.text.is_empty()));
        let mut at = 0;
        for Cut { bytes, text } in &self.cuts {
            let (start, end) = (bytes.start as usize, bytes.end as usize);
            // It is within what is gone already, or that once more.
            if start < at {
                continue;
            }
            emit(&doc[at..start]);
            emit(&self.text[text.clone()]);
            at = end;
        }
        emit(&doc[at..]);
    }

    /// Turns the removals, which are sorted, into cuts. Neighbours go together, since what is left of
    /// the commas between members depends on who stays.
    fn place_removals(&mut self, doc: &[u8]) {
        let mut rest = self.removals.iter().copied();
        let Some(mut first) = rest.next() else { return };
        let mut last = first;
        for next in rest.map(Some).chain([None]) {
            match next {
                // It is within what goes anyway.
                Some(next) if next.start < last.end => continue,
                Some(next) if next.before == last.after => last = next,
                _ => {
                    let bytes = cut_out(doc, first, last);
                    self.cuts.push(Cut { bytes, text: 0..0 });
                    let Some(next) = next else { return };
                    (first, last) = (next, next);
                }
            }
        }
    }

    /// Turns the insertions into cuts of nothing.
    fn place_insertions(&mut self, doc: &[u8]) {
        for nth in 0..self.insertions.len() {
            let Insertion { object: Range { start: open, end }, mut text } = self.insertions[nth].clone();
            let close = end - 1;
            let inside = &doc[open as usize + 1..close as usize];
            let at = open + 1 + inside.trim_ascii_end().len() as u32;
            let is_first = !self.insertions[..nth].iter().any(|other| other.object.start == open);
            if is_first && (inside.trim_ascii_end().is_empty() || self.all_go(open, close)) {
                text.start += 1;
            }
            self.cuts.push(Cut { bytes: at..at, text });
        }
    }

    /// Whether all members of the object with these braces, which has some, are removed.
    fn all_go(&self, open: u32, close: u32) -> bool {
        let mut next = open;
        for removal in &self.removals {
            if removal.before == next {
                next = removal.after;
            }
        }
        next == close
    }
}

/// The bytes that go with a run of neighbours: them, and a comma less than before.
fn cut_out(doc: &[u8], first: Removal, last: Removal) -> Range<u32> {
    let is_comma = |at: u32| doc[at as usize] == b',';
    if is_comma(first.before) {
        first.before..last.end
    } else if is_comma(last.after) {
        first.start..skip_space(doc, last.after as usize + 1) as u32
    } else {
        first.start..last.end
    }
}
