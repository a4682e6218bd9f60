//! Steps, from the file and from flags.

use super::program::Program;

const FILE: &str = "
    [source]
    topic = 'orders'
    [destination]
    topic = 'german_orders'
    [[step]]
    filter = '.country == \"DE\"'
    [[step]]
    drop = ['.password', '.items[].secret']
    [[step]]
    mask = '.email'
    first = 2
    when = '.vip | not'
    [[step]]
    set = '.count'
    value = '.items | map(.number) | add'
    [[step]]
    hash-field = true
    digest = 'xxh3'
    [[step]]
    route = 'orders_{.country}'
    on-missing = 'fail'
";

#[test]
fn check_says_how_each_step_is_done_and_prints_a_configuration() {
    let first = Program::new(["check"]).config(FILE).run();
    first.expect(
        0,
        &[
            "# step 1 (filter .country == \"DE\"): pass 1, on the bytes\n[[step]]\nfilter = '.country == \"DE\"'\n",
            "# step 2 (drop .password, .items[].secret): pass 1, on the bytes\n",
            "[[step]]\nmask = \".email\"\nfirst = 2\nwhen = \".vip | not\"\n",
            "# step 4 (set .count): pass 2, by jaq, because ",
            "# step 5 (hash-field): pass 3, ",
            "# step 6 (route orders_{.country}): pass 4, on the bytes\n",
            "\n# ok\n",
        ],
    );
    assert!(!first.stdout.contains("[transform]"), "{}", first.stdout);
    let toml = first.stdout.strip_suffix("\n# ok\n").unwrap();
    Program::new(["check"]).config(toml).run().expect(0, &[toml]);
}

#[test]
fn flags_are_steps_in_the_order_in_which_they_are_typed() {
    let flags =
        ["check", "--source", "a", "--destination", "b", "--drop", ".x,.y", "--filter", ".z", "--drop", ".w"];
    let steps = "[[step]]\ndrop = [\".x\", \".y\"]\n\n# step 2 (filter .z): pass 1, on the bytes\n[[step]]\nfilter = \
        \".z\"\n\n# step 3 (drop .w): pass 1, on the bytes\n[[step]]\ndrop = [\".w\"]\n";
    Program::new(flags).run().expect(0, &[steps]);
    // They stand in for those of the file.
    let over = Program::new(["check", "--jq", ".[]"]).config(FILE).run();
    assert!(!over.expect(0, &["[[step]]\njq = \".[]\""]).stdout.contains("mask"), "{}", over.stdout);
    let said = [
        "flag --jq takes the place of ALL 6 steps of ",
        " (filter, drop, mask, set, hash_field, route): none of them",
    ];
    over.expect(0, &said);
    Program::new(["dry-run", "--drop", ".x"])
        .config(FILE)
        .run()
        .expect(0, &["flag --drop takes the place of ALL 6"]);
    Program::new(["check", "--transform", "name-event"])
        .config(FILE)
        .run()
        .expect(0, &["takes the place of ALL 6"]);
}

#[test]
fn steps_and_a_transform_exclude_each_other_in_a_layer() {
    let both = format!("{FILE}\n[transform]\nkind = 'name-event'\nfield = 'x'");
    let said = [
        "config: [transform] kind: excludes steps: a transform may be one of them",
        "config: [transform] field: is for a transform",
        "line 25)",
    ];
    Program::new(["check"]).config(&both).run().expect(78, &said);
    Program::new(["check", "--filter", ".a", "--transform", "name-event"]).run().expect(78, &said[..1]);
    // The layer above decides.
    Program::new(["check", "--transform", "name-event"])
        .config(FILE)
        .run()
        .expect(0, &["kind = \"name-event\""]);
    let file = "[transform]\nkind = 'hash-field'";
    Program::new(["check", "--filter", ".a"]).config(file).run().expect(0, &["filter = \".a\""]);
}

#[test]
fn everything_that_is_wrong_with_steps_is_said_at_once_with_its_place() {
    let file = "
[[step]]
filtre = '.a'
[[step]]
mask = '.a'
frist = 2
last = -1
[[step]]
filter = '.a == '
[[step]]
route = 'name_stream'
";
    let said = [
        "config: [[step]] 1 filtre: is no step; did you mean `filter`? (from ",
        "line 3)",
        "config: [[step]] 2 frist: unknown setting of `mask`; did you mean `first`? (from ",
        "line 6)",
        "config: [[step]] 2 last: must be between 0 and",
        "config: [[step]] 3 filter: at character ",
        "line 9)",
    ];
    Program::new(["check"]).config(file).run().expect(78, &said);
    let route = ["config: [[step]] route: must differ from the source, `name_stream` (step 1)"];
    Program::new(["check", "--route", "name_stream"]).run().expect(78, &route);
    Program::new(["check"])
        .config("[step]\nfilter = '.a'")
        .run()
        .expect(78, &["[step]: is written [[step]]"]);
    let letters = format!("{FILE}\n[[step]]\nroute = 'german_orders_dead_letter'");
    let said =
        ["[[step]] route: must differ from the dead letter topic, `german_orders_dead_letter` (step 7)"];
    for command in ["check", "verify", "dry-run", "test"] {
        Program::new([command]).config(&letters).run().expect(78, &said);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, &letters).unwrap();
    let file = file.path().to_str().unwrap();
    for [old, new] in [[file, "/dev/null"], ["/dev/null", file]] {
        Program::new(["diff", "--config", old, "--config", new]).run().expect(78, &said);
    }
    let pair = ["config: --set: must be PATH=EXPR (from flag --set)"];
    Program::new(["check", "--set", ".a"]).run().expect(78, &pair);
    let flag = ["config: [[step]] 1 drop: `a`: a path begins with '.'", "(from flag --drop)"];
    Program::new(["check", "--drop", "a"]).run().expect(78, &flag);
}

#[test]
fn a_key_is_never_shown() {
    let file = "[[step]]\nhmac = '.a'\nkey_env = 'TOKEN_KEY'\nkey_id = 'k1'\n[[step]]\ndrop = '.b'";
    let with = |key: &str| Program::new(["check"]).config(file).environment("TOKEN_KEY", key).run();
    let shown = with("top secret key");
    assert!(!shown.expect(0, &["key_env = \"TOKEN_KEY\""]).stdout.contains("top secret"), "{}", shown.stdout);
    let unknown = ["[[step]] 1 key_env: there is no such variable: `TOKEN_KEY`"];
    Program::new(["check"]).config(file).run().expect(78, &unknown);
    let elsewhere = file.replace("key_env = 'TOKEN_KEY'", "key_file = '/no/such/file'");
    let unread = ["[[step]] 1 key_file: `/no/such/file` cannot be read: "];
    Program::new(["check"]).config(&elsewhere).run().expect(78, &unread);
    let protect = format!("{file}\n[dead_letter]\nprotect = true");
    let empty = Program::new(["check"]).config(&protect).environment("TOKEN_KEY", "").run();
    empty.expect(78, &["[[step]] 1 key_env: the key is empty: `TOKEN_KEY`"]);
    assert!(!empty.stderr.contains("none does"), "what follows from it is not said: {}", empty.stderr);
    let blake = file.replace("hmac = '.a'", "hmac = '.a'\nalgorithm = 'blake3'");
    let short = Program::new(["check"]).config(&blake).environment("TOKEN_KEY", "too short").run();
    short.expect(78, &["[[step]] 1 key_env: keyed BLAKE3 takes a key of 32 bytes"]);
    assert!(!short.stderr.contains("too short"), "{}", short.stderr);
}

#[test]
fn what_is_protected_has_to_be_known_where_it_is_asked_for() {
    let protect = format!("{FILE}\n[dead_letter]\nprotect = true");
    Program::new(["check"]).config(&protect).run().expect(0, &["[dead_letter]\n", "protect = true\n"]);
    let said = "is about what steps protect, but none does";
    let letters = format!("config: [dead_letter] protect: {said}");
    Program::new(["check", "--filter", ".a", "--protect-dead-letters"]).run().expect(78, &[&letters]);
    let verify = format!("config: --no-plaintext: {said}");
    Program::new(["verify", "--filter", ".a", "--no-plaintext"]).run().expect(78, &[&verify]);
    let made = "config: --no-plaintext: step 2: protects what step 1 (jq .[]) has made";
    Program::new(["verify", "--jq", ".[]", "--mask", ".a", "--no-plaintext"]).run().expect(78, &[made]);
    let steps = "[[step]]\ndrop = '.x'\n[[step]]\nmask = '.email'\nwhen = '.x == null'\n";
    Program::new(["check"]).config(steps).run().expect(0, &["# ok\n"]);
    let changed = "step 2: depends on what step 1 (drop .x) has changed";
    let letters = format!("{steps}[dead_letter]\nprotect = true");
    let said = format!("config: [dead_letter] protect: {changed}");
    Program::new(["check"]).config(&letters).run().expect(78, &[&said]);
    let said = format!("config: --no-plaintext: {changed}");
    Program::new(["verify", "--no-plaintext"]).config(steps).run().expect(78, &[&said]);
}
