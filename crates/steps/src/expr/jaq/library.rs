//! What an expression can call: the library of jaq without what reaches outside, with guards around
//! what does a lot at once, and with a few functions of jq that it lacks.

use jaq_core::{
    Bind, Native,
    load::{Lexer, Parser},
};

use super::{
    Jaq,
    guard::Guard,
    natives::natives,
    parse::{Def, Term},
};

/// Built-in functions that work on a whole value at once, with the number of their arguments. They are
/// known as `__name` to [`WRAPPERS`] only.
const WRAPPED: &[(&str, usize)] = &[
    ("ascii_downcase", 0),
    ("ascii_upcase", 0),
    ("bsearch", 1),
    ("contains", 1),
    ("decode_base64", 0),
    ("decode_uri", 0),
    ("encode_base64", 0),
    ("encode_uri", 0),
    ("escape_html", 0),
    ("escape_sh", 0),
    ("explode", 0),
    ("group_by", 1),
    ("has", 1),
    ("implode", 0),
    ("indices", 1),
    ("key_values", 0),
    ("keys_unsorted", 0),
    ("max_by_or_empty", 1),
    ("min_by_or_empty", 1),
    ("path_value", 1),
    ("reverse", 0),
    ("sort", 0),
    ("sort_by", 1),
    ("tobytes", 0),
    ("unescape_html", 0),
];

/// The functions of [`WRAPPED`], counted.
const WRAPPERS: &str = r#"
def ascii_downcase: __weigh | __ascii_downcase;
def ascii_upcase: __weigh | __ascii_upcase;
def bsearch($x): __weigh | __bsearch($x | __weigh);
def contains($x): __pairs($x) | __alike($x) | __contains($x);
def decode_base64: __weigh | __decode_base64;
def decode_uri: __weigh | __decode_uri;
def encode_base64: __weigh | __encode_base64;
def encode_uri: __weigh | __encode_uri;
def escape_html: __weigh | __escape_html;
def escape_sh: __weigh | __escape_sh;
def explode: __wide | __explode;
def group_by(f): __weigh | __group_by(f | __weigh) | __made;
def has($x): __keyed($x) | __has($x);
def implode: __weigh | __implode;
def indices($x): __pairs($x) | __indices($x);
def key_values: __each | __key_values | __made;
def keys_unsorted: __each | __keys_unsorted;
def matches($re; $flags): __wide | __matches($re; $flags);
def max_by_or_empty(f): __weigh | __max_by_or_empty(f | __weigh);
def min_by_or_empty(f): __weigh | __min_by_or_empty(f | __weigh);
def path_value(f): __path_value(f) | __made;
def reverse: __each | __reverse;
def sort: __weigh | __sort;
def sort_by(f): __weigh | __sort_by(f | __weigh);
def split_($re; $flags): __wide | __split_($re; $flags);
def split_matches($re; $flags): __wide | __split_matches($re; $flags);
def tobytes: __weigh | __tobytes;
def unescape_html: __weigh | __unescape_html;
"#;

/// Functions of jq that jaq's library lacks, or that are faster so.
const ADDED: &str = r#"
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def ascii: [.] | implode;
def del(f): __delete([path(f)]);
def delpaths($paths): __delete($paths);
def from_entries: reduce (.[] | {
    (if .key == null then .k // .name // .Name // .K // .Key else .key end):
    (if has("value") then .value elif has("v") then .v elif has("Value") then .Value else .V end)
  }) as $x ({}; . + $x);
def gamma: lgamma;
def join($s):
  [.[] | if isstring then . elif . == null then "" elif . < "" then tojson else . + "" end]
  | .[:-1][] += $s | reduce .[] as $x (""; . + $x);
def leaf_paths: paths(scalars);
def scan(re; flags): matches(re; "g" + flags)[] | [.[].string] | if length > 1 then .[1:] else .[0] end;
def scan(re): scan(re; "");
def toarray: if isarray then . else [.] end;
def test($re; $flags): __wide | __test($re; $flags);
def test(re): test(re; "");
def tonumber: if isstring then __number elif isnumber then . else error("cannot parse as number") end;
def trimstr($s): ltrimstr($s) | rtrimstr($s);
def with_entries(f): to_entries | map(f) | from_entries;
def @csv: map(
    if isstring then "\"" + (split("\"") | join("\"\"")) + "\""
    elif . == null then ""
    elif . >= [] then error("arrays and objects are no values of a row")
    else tostring end
  ) | join(",");
def @html: tostring | escape_html | split("&apos;") | join("&#39;");
def @tsv: map(
    if isstring then
      split("\\") | join("\\\\") | split("\t") | join("\\t") | split("\n") | join("\\n") | split("\r") | join("\\r")
    elif . == null then ""
    elif . >= [] then error("arrays and objects are no values of a row")
    else tostring end
  ) | join("\t");
"#;

/// What is not there for a reason.
const REFUSED: &[(&str, &str)] = &[
    ("$ENV", "the environment is not for expressions"),
    ("env", "the environment is not for expressions"),
    ("input", "there is one record at a time"),
    ("inputs", "there is one record at a time"),
    ("input_filename", "a record is in no file; there are $topic, $partition and $offset"),
    ("input_line_number", "a record is in no file; there are $topic, $partition and $offset"),
    ("debug", "an expression writes nothing but its results"),
    ("stderr", "an expression writes nothing but its results"),
    ("halt", "an expression cannot end the program; 'empty' gives no result"),
    ("halt_error", "an expression cannot end the program; 'error' fails a record"),
    ("now", "results may depend on the record only; there is $timestamp"),
    ("localtime", "results may not depend on where they are made; there is 'gmtime'"),
    ("strflocaltime", "results may not depend on where they are made; there is 'strftime'"),
    ("include", "there are no modules"),
    ("import", "there are no modules"),
    ("modulemeta", "there are no modules"),
    ("get_search_list", "there are no modules"),
    ("repl", "there is nobody to talk to"),
];

/// Built-in functions of jaq that what is refused is made of, or that are defined here.
const LEFT_OUT: &[&str] = &[
    "env",
    "matches",
    "split_",
    "split_matches",
    "now",
    "halt",
    "debug_empty",
    "stderr_empty",
    "localtime",
    "strflocaltime",
    "range",
    "tojson",
    "fromjson",
];

/// Why there is no function or variable named `name`, if that is on purpose.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(own, _)| *own == name).map(|(_, why)| *why)
}

/// A built-in function.
pub(super) type Function<'s> = (&'s str, Box<[Bind]>, Native<Jaq>);

/// The built-in functions; names that are made are kept in `names`.
pub(super) fn functions(names: &[String]) -> Vec<Function<'_>> {
    let given = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let given = given.filter(|(name, ..)| !LEFT_OUT.contains(name)).map(|(name, args, function)| {
        let wrapped = WRAPPED.iter().position(|&(own, arity)| own == name && arity == args.len());
        (wrapped.map_or(name, |index| names[index].as_str()), args, function)
    });
    natives().into_iter().chain(given).collect()
}

/// The names that built-in functions get that are wrapped.
pub(super) fn names() -> Vec<String> {
    WRAPPED.iter().map(|(name, _)| format!("__{name}")).collect()
}

/// The functions that are defined in terms of others, guarded.
pub(super) fn definitions() -> Vec<Def<'static>> {
    let guard = Guard { is_library: true };
    let given = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let given = given.filter(|def| refusal(def.name).is_none());
    let all = defs(WRAPPERS).into_iter().chain(given.chain(defs(ADDED)).map(|def| guard.def(def)));
    all.collect()
}

fn defs(text: &'static str) -> Vec<Def<'static>> {
    let tokens = Lexer::new(text).lex().expect("the library's text");
    Parser::new(&tokens).parse(|parser| parser.defs()).expect("the library's definitions")
}

/// The name of a function or variable that only guards have.
pub(super) fn reserved<'s>(term: &Term<'s>) -> Option<&'s str> {
    use jaq_core::load::parse::Term as T;
    match term {
        T::Call(name, _) | T::Var(name) if name.trim_start_matches(['$', '@']).starts_with("__") => {
            Some(name)
        }
        T::Def(defs, _) => {
            let names = defs.iter().flat_map(|def| def.args.iter().chain([&def.name]));
            names.copied().find(|name| name.trim_start_matches(['$', '@']).starts_with("__"))
        }
        _ => None,
    }
}
