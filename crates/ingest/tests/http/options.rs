//! The README's option table is the program's.

use clap::CommandFactory;

#[test]
fn the_readme_lists_every_option_with_its_variable_and_default() {
    let readme = include_str!("../../../../README.md");
    let table = readme.split("`ingest`:\n").nth(1).unwrap().split("`deliver`:\n").next().unwrap();
    for option in ingest::config::Config::command().get_arguments() {
        let (Some(flag), Some(env)) = (option.get_long(), option.get_env()) else { continue };
        let start = format!("| `--{flag}` | `{}` | ", env.to_str().unwrap());
        let line = table.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("the README has no line `{start}…`"));
        for default in option.get_default_values().iter().filter(|default| !default.is_empty()) {
            let default = default.to_str().unwrap();
            assert!(line.contains(&format!("`{default}")), "{line} lacks the default {default}");
        }
    }
}
