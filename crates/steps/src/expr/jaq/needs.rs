//! Which parts of a document an expression can look at: reading only those is most of what there is to
//! gain, as building values takes longer than most expressions do.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Pattern},
    },
    path::Part,
};
use jaq_json::{Map, Val};

use super::{
    budget::Stop,
    parse::{Term, any},
    program::literal,
    read,
};
use crate::json::{Found, Kind, Path, PathId, PathSet, Segment};

/// The most keys that are looked for; for more, the whole document is read.
const MAX_KEYS: usize = 32;

/// The parts that are needed, if it is not the whole document.
#[derive(Debug)]
pub(in super::super) struct Needs {
    pub(in super::super) paths: PathSet,
    tree: Vec<Node>,
}

/// A member of an object that is needed.
#[derive(Debug, Default)]
struct Node {
    key: String,
    path: PathId,
    is_whole: bool,
    members: Vec<Node>,
}

/// Keys from the outermost value on.
type Place = Vec<String>;

impl Needs {
    /// What a term needs of its input; `None` if that is all of it, or may be.
    pub(super) fn of(term: &Term<'_>) -> Option<Needs> {
        // With functions of its own, names may mean something else.
        if any(term, &mut |term| matches!(term, Term::Def(..))) {
            return None;
        }
        let mut needed = Needed::default();
        let results = needed.walk(term, &vec![Place::new()]);
        needed.whole(&results);
        if needed.is_all || needed.touched.iter().map(Vec::len).sum::<usize>() > MAX_KEYS {
            return None;
        }
        let mut paths = Vec::new();
        let mut tree = Vec::new();
        for place in &needed.touched {
            let mut nodes = &mut tree;
            for (index, key) in place.iter().enumerate() {
                let node = member(nodes, key, &place[..=index], &mut paths);
                node.is_whole |= index + 1 == place.len() && needed.whole.contains(place);
                nodes = &mut node.members;
            }
        }
        Some(Needs { paths: PathSet::new(&paths).ok()?, tree })
    }

    /// Whether it is more than nothing.
    pub(super) fn is_something(&self) -> bool {
        !self.tree.is_empty()
    }

    /// The value of a document with no more in it than is needed, of which `found` are the parts.
    pub(super) fn value(&self, doc: &[u8], found: &Found, depth: usize) -> Result<Val, Stop> {
        match doc.trim_ascii_start().first() {
            Some(b'{') => self.members(&self.tree, doc, found, depth.checked_sub(1).ok_or(Stop::Depth)?),
            _ => read::value(doc, depth),
        }
    }

    fn members(&self, nodes: &[Node], doc: &[u8], found: &Found, depth: usize) -> Result<Val, Stop> {
        let mut members = Map::default();
        for node in nodes {
            let Some(site) = found.read(&self.paths, node.path) else { continue };
            let value = if node.is_whole || site.kind != Kind::Object {
                read::value(site.value(doc), depth)?
            } else {
                self.members(&node.members, doc, found, depth.checked_sub(1).ok_or(Stop::Depth)?)?
            };
            members.insert(Val::from(node.key.clone()), value);
        }
        Ok(Val::obj(members))
    }
}

fn member<'t>(nodes: &'t mut Vec<Node>, key: &str, place: &[String], paths: &mut Vec<Path>) -> &'t mut Node {
    let index = nodes.iter().position(|node| node.key == key).unwrap_or_else(|| {
        let segments = place.iter().map(|key| Segment::Key(key.as_str().into())).collect();
        paths.push(Path { segments });
        nodes.push(Node { key: key.to_owned(), path: paths.len() - 1, ..Node::default() });
        nodes.len() - 1
    });
    &mut nodes[index]
}

/// Whether a function looks at its input only by its arguments.
fn hands_on(name: &str, args: usize) -> bool {
    matches!((name, args), ("infinite" | "nan", 0) | ("error" | "first" | "isempty" | "range", 1))
        || matches!((name, args), ("limit" | "range", 2) | ("range", 3))
}

/// What was found to be needed.
#[derive(Debug, Default)]
struct Needed {
    /// What has to be there and of its type; of its type only, if it is an object.
    touched: Vec<Place>,
    /// Of what all is needed; these are among the others.
    whole: Vec<Place>,
    is_all: bool,
}

/// Adds what is not yet there.
fn add(places: &mut Vec<Place>, more: Vec<Place>) {
    for place in more {
        if !places.contains(&place) {
            places.push(place);
        }
    }
}

impl Needed {
    /// All of what is in these places is needed.
    fn whole(&mut self, places: &[Place]) {
        self.is_all |= places.iter().any(Vec::is_empty);
        add(&mut self.whole, places.to_vec());
    }

    fn walk_whole(&mut self, term: &Term<'_>, input: &Vec<Place>) {
        let results = self.walk(term, input);
        self.whole(&results);
    }

    /// What a term needs whose input is one of these places, or nothing of the document. Gives the places
    /// that its results may be, of which nothing is needed so far but what they are.
    fn walk(&mut self, term: &Term<'_>, input: &Vec<Place>) -> Vec<Place> {
        match term {
            Term::Id => input.clone(),
            Term::Num(_) | Term::Arr(None) | Term::Var(_) | Term::Break(_) => Vec::new(),
            Term::Str(_, parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        self.walk_whole(term, input);
                    }
                }
                Vec::new()
            }
            Term::Arr(Some(inner)) | Term::Neg(inner) => {
                self.walk_whole(inner, input);
                Vec::new()
            }
            Term::Obj(entries) => {
                for (key, value) in entries {
                    match (key, value) {
                        (key, Some(value)) => {
                            self.walk_whole(key, input);
                            self.walk_whole(value, input);
                        }
                        (Term::Var(_), None) => {}
                        (Term::Str(None, parts), None) => match literal(parts) {
                            Some(key) => {
                                let places = self.member(input, &key);
                                self.whole(&places);
                            }
                            None => self.whole(input),
                        },
                        (_, None) => self.whole(input),
                    }
                }
                Vec::new()
            }
            Term::Label(_, body) => self.walk(body, input),
            Term::TryCatch(body, catch) => {
                let mut results = self.walk(body, input);
                // What is caught may have any part of the document in it.
                if let Some(catch) = catch {
                    self.whole(input);
                    add(&mut results, self.walk(catch, &Vec::new()));
                }
                results
            }
            Term::IfThenElse(branches, otherwise) => {
                let mut results = Vec::new();
                for (condition, then) in branches {
                    self.walk_whole(condition, input);
                    add(&mut results, self.walk(then, input));
                }
                match otherwise {
                    Some(otherwise) => add(&mut results, self.walk(otherwise, input)),
                    None => add(&mut results, input.clone()),
                }
                results
            }
            Term::BinOp(left, op, right) => self.binary(left, op, right, input),
            Term::Path(base, path) => {
                let mut places = self.walk(base, input);
                for (part, _) in &path.0 {
                    places = match part {
                        Part::Index(Term::Str(None, parts)) if literal(parts).is_some() => {
                            self.member(&places, &literal(parts).unwrap_or_default())
                        }
                        Part::Index(index) => {
                            self.whole(&places);
                            self.walk_whole(index, input);
                            Vec::new()
                        }
                        Part::Range(from, upto) => {
                            self.whole(&places);
                            from.iter().chain(upto).for_each(|bound| self.walk_whole(bound, input));
                            Vec::new()
                        }
                    };
                }
                places
            }
            Term::Call("empty" | "true" | "false" | "null", args) if args.is_empty() => Vec::new(),
            Term::Call("select", args) if args.len() == 1 => {
                self.walk_whole(&args[0], input);
                input.clone()
            }
            // The condition is about results of the first argument.
            Term::Call("all" | "any", args) if args.len() == 2 => {
                self.walk_whole(&args[0], input);
                Vec::new()
            }
            Term::Call(name, args) if hands_on(name, args.len()) => {
                args.iter().for_each(|arg| self.walk_whole(arg, input));
                Vec::new()
            }
            // What is folded starts with the first argument, and the others get what has come of it.
            Term::Fold(_, each, Pattern::Var(_), args) => {
                self.walk_whole(each, input);
                args.first().into_iter().for_each(|first| self.walk_whole(first, input));
                Vec::new()
            }
            // Its arguments look at its input, or at what is made of it.
            Term::Recurse | Term::Fold(..) | Term::Def(..) | Term::Call(..) => {
                self.whole(input);
                Vec::new()
            }
        }
    }

    fn binary(
        &mut self,
        left: &Term<'_>,
        op: &BinaryOp<&str>,
        right: &Term<'_>,
        input: &Vec<Place>,
    ) -> Vec<Place> {
        match op {
            BinaryOp::Pipe(None) => {
                let left = self.walk(left, input);
                self.walk(right, &left)
            }
            BinaryOp::Comma | BinaryOp::Alt => {
                let mut results = self.walk(left, input);
                add(&mut results, self.walk(right, input));
                results
            }
            BinaryOp::Or | BinaryOp::And | BinaryOp::Math(_) | BinaryOp::Cmp(_) => {
                self.walk_whole(left, input);
                self.walk_whole(right, input);
                Vec::new()
            }
            // Changes hand on their input; a pattern may look anywhere into what it gets.
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                self.whole(input);
                Vec::new()
            }
            BinaryOp::Pipe(Some(pattern)) => {
                self.walk_whole(left, input);
                if !matches!(pattern, Pattern::Var(_)) {
                    self.whole(input);
                }
                self.walk(right, input)
            }
        }
    }

    /// The members with this key in these places.
    fn member(&mut self, places: &[Place], key: &str) -> Vec<Place> {
        let member = |place: &Place| place.iter().cloned().chain([key.to_owned()]).collect();
        let members: Vec<Place> = places.iter().map(member).collect();
        add(&mut self.touched, members.clone());
        members
    }
}
