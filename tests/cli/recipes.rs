//! The recipes: each is a configuration that works, passes its cases, and stands in the documentation.

use std::{fs, path::Path};

use super::program::Program;

#[test]
fn each_recipe_passes_its_cases_and_stands_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/recipes.md")).unwrap();
    let files = fs::read_dir(root.join("examples/recipes")).unwrap();
    let files = files.map(|file| file.unwrap().path().display().to_string());
    let recipes: Vec<String> = files.filter(|file| !file.ends_with(".test.toml")).collect();
    assert_eq!(recipes.len(), page.matches("\n## ").count(), "a section for each");
    for recipe in recipes {
        let program = |arguments: [&str; 3]| Program::new(arguments).environment("TOKEN_KEY", "secret");
        program(["check", "-c", &recipe]).run().expect(0, &["# ok"]);
        program(["test", "-c", &recipe]).run().expect(0, &[" 0 failed"]);
        let text = fs::read_to_string(&recipe).unwrap();
        let steps = text[text.find("[[step]]").expect("it has steps")..].trim_end();
        assert!(
            page.contains(&format!("```toml\n{steps}\n```")),
            "{recipe} is not in docs/recipes.md as it is"
        );
    }
}
