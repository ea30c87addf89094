//! Text templates: what is a placeholder in them, and what a value becomes.

use super::*;

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

/// The values that the tests know by name.
fn value(name: &str) -> Value<'static> {
    match name {
        "x" => text("a b"),
        "q" => text("\"é\\\n&=+"),
        "empty" => text(""),
        "n" => Value::Literal("1.10".into()),
        "yes" => Value::Literal("true".into()),
        "braces" => text("{x}{{"),
        "list" => Value::List(vec![text("a"), text("b c"), Value::Null]),
        "none" => Value::List(vec![]),
        "obj" => Value::Object(vec![
            ("k".into(), text("v")),
            ("l".into(), Value::List(vec![Value::Literal("1".into())])),
        ]),
        "device.id-1_é" => text("named"),
        _ => Value::Null,
    }
}

fn fill(template: &TextTemplate, names: Names) -> Result<String, Misfit> {
    let row: Row<'_> = names.into_parts().0.iter().map(|name| value(name)).collect();
    template.fill(&row, 1000)
}

fn check_as(encoding: Encoding, text: &str, expect: &str) {
    let mut names = Names::new("");
    let template = TextTemplate::parse(text, encoding, &mut names);
    assert_eq!(fill(&template, names).as_deref(), Ok(expect), "{text}");
}

fn check(text: &str, expect: &str) {
    check_as(Encoding::Raw, text, expect);
}

#[test]
fn a_placeholder_takes_its_value_as_it_is() {
    check("", "");
    check("plain é", "plain é");
    check("{x}", "a b");
    check("<{x}|{n}|{yes}>", "<a b|1.10|true>");
    check("{device.id-1_é}", "named");
    check("{q}", "\"é\\\n&=+");
    check("{x:1}{n:3}", "a1.1");
    check("{braces}", "{x}{{");
}

#[test]
fn lists_and_objects_are_joined_by_commas() {
    check("{list}", "a,b c");
    check("{list*}", "a,b c");
    check("{obj}", "k,v,l,[1]");
    check("{obj*}", "k=v,l=[1]");
    check("[{none}]", "[]");
}

#[test]
fn a_placeholder_without_a_value_gets_its_fallback() {
    check("{u}", "");
    check("{u|f}", "f");
    check("{u|a, b:c*|d}", "a, b:c*|d");
    check("{u:3|ab}{u*|c}", "abc");
    check("{u|}", "");
    check("{none|f}{empty|f}", "");
}

#[test]
fn a_brace_that_opens_no_placeholder_stays() {
    for text in [
        "{",
        "}",
        "{}",
        "{ x }",
        "{x y}",
        "{+x}",
        "{?x}",
        "{x,n}",
        "{x:0}",
        "{x:10000}",
        "{x:3*}",
        "{|f}",
        "{:3}",
        "{u|{",
        "{x",
        "a{x\n}",
        r#"{"a":{"b":{"c":[{}]}}}"#,
        "}}",
        "a}}b",
        "{\"a\": {\"x\": 1}}",
    ] {
        check(text, text);
    }
    check("{u|{x}}", "{u|a b}");
    check("{{x}", "{x}");
    check(r#"{"a":{"b":"{x}","c":{n}}}"#, r#"{"a":{"b":"a b","c":1.10}}"#);
}

#[test]
fn doubled_braces_are_literal_braces() {
    check("{{x}}", "{x}");
    check("{{{x}}}", "{a b}");
    check("{{{{x}}}}", "{{x}}");
    check("{{}}", "{}");
    check("{{ {x} }} }}", "{ a b } }}");
    check(r#"{"a":{"b":"{{x}}"}}"#, r#"{"a":{"b":"{x}"}}"#);
}

#[test]
fn values_are_written_by_the_content_type() {
    check_as(Encoding::Json, r#"{"q":"{q}","n":{n}}"#, r#"{"q":"\"é\\\n&=+","n":1.10}"#);
    check_as(Encoding::Form, "q={q}&x={x}&l={list}", "q=%22%C3%A9%5C%0A%26%3D%2B&x=a+b&l=a,b+c");
}

fn check_json(json: &str, expect: &str) {
    let mut names = Names::new("");
    let template = TextTemplate::parse_json(json, &mut names).unwrap();
    let filled = fill(&template, names).unwrap();
    assert_eq!(filled, expect, "{json}");
    serde_json::from_str::<serde::de::IgnoredAny>(&filled).unwrap();
}

#[test]
fn a_string_that_is_one_placeholder_takes_the_values_json_type() {
    check_json(r#"["{x}","{n}","{yes}","{u}"]"#, r#"["a b",1.10,true,null]"#);
    check_json(
        r#"{"l":"{list}","o":"{obj*}","e":"{none}"}"#,
        r#"{"l":["a","b c",null],"o":{"k":"v","l":[1]},"e":[]}"#,
    );
    check_json(r#"["{u|1}","{u|}","{n:2}","{u:1|ab}"]"#, r#"["1",null,"1.","a"]"#);
    check_json(r#"["{q}"]"#, r#"["\"é\\\n&=+"]"#);
}

#[test]
fn every_other_string_of_a_json_body_is_a_text() {
    check_json(r#"{"a":"x={x}, n={n}, u={u}"}"#, r#"{"a":"x=a b, n=1.10, u="}"#);
    check_json(r#"["{x} ","{x}{n}","{list} "]"#, r#"["a b ","a b1.10","a,b c "]"#);
    check_json(r#"["\"{q}\"","{{x}}","\u007bx\u007d"]"#, r#"["\"\"é\\\n&=+\"","{x}","a b"]"#);
    check_json(r#"["","\\","a\\\"{n}\u0000"]"#, r#"["","\\","a\\\"1.10\u0000"]"#);
}

#[test]
fn keys_and_numbers_of_a_json_body_stay_as_they_are() {
    check_json(
        r#"{"{x}":1.10,"k\"\u0041:" : [1e400,-0,null,true],"s":":"}"#,
        r#"{"{x}":1.10,"k\"\u0041:" : [1e400,-0,null,true],"s":":"}"#,
    );
    check_json(r#"["{x}" , "a" ]"#, r#"["a b" , "a" ]"#);
}

#[test]
fn what_is_no_json_is_no_json_body() {
    for json in ["", "{", "{\"a\"}", "[\"\\x\"]", "[\"", "[1,]", "{} x"] {
        assert!(TextTemplate::parse_json(json, &mut Names::new("")).is_err(), "{json}");
    }
}

#[test]
fn the_policys_text_stands_in_where_there_is_no_fallback() {
    let mut names = Names::new("n/a");
    let text = TextTemplate::parse("{u}{v|own}{w|}", Encoding::Raw, &mut names);
    assert_eq!(fill(&text, names).as_deref(), Ok("n/aown"));
    let mut names = Names::new("n/a");
    let json = TextTemplate::parse_json(r#"["{u}","{w|}"]"#, &mut names).unwrap();
    assert_eq!(fill(&json, names).as_deref(), Ok(r#"["n/a",null]"#));
}

#[test]
fn what_does_not_fit_is_refused() {
    let fill = |text: &str, limit| {
        let mut names = Names::new("");
        let template = TextTemplate::parse(text, Encoding::Raw, &mut names);
        template.fill(&names.into_parts().0.iter().map(|name| value(name)).collect(), limit)
    };
    assert_eq!(fill("{x}{list:3}", 100), Err(Misfit::Prefix(1)));
    assert_eq!(fill("{x}{x}", 6), Ok("a ba b".into()));
    assert_eq!(fill("{x}{x}", 5), Err(Misfit::TooLong));
}
