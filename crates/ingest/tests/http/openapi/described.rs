//! The document's schemas, and whether an answer is as one of them says.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use crate::support::Answer;

/// As ingest serves it.
pub(super) const DOCUMENT: &str = include_str!("../../../openapi.json");

/// The document's schemas, by their pointers. Objects of an answer are closed: no field is missing from the document.
pub(super) struct Described {
    compiler: Compiler,
    schemas: Schemas,
}

impl Described {
    pub(super) fn new() -> Described {
        let mut document = document();
        for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
            if schema.get("properties").is_some() {
                schema["additionalProperties"] = json!(false);
            }
        }
        let mut compiler = Compiler::new();
        compiler.add_resource("http://x/openapi.json", document).unwrap();
        Described { compiler, schemas: Schemas::new() }
    }

    pub(super) fn schema(&mut self, pointer: &str) -> SchemaIndex {
        let location = format!("http://x/openapi.json#{pointer}");
        self.compiler.compile(&location, &mut self.schemas).unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// What is wrong with this value by the schema at this pointer.
    pub(super) fn fault(&mut self, pointer: &str, value: &Value) -> Option<String> {
        let schema = self.schema(pointer);
        self.schemas.validate(value, schema).err().map(|fault| format!("{fault:#}"))
    }

    /// An answer is one that the operation has: its status, content type, headers and body.
    pub(super) fn check(&mut self, path: &str, method: &str, answer: &Answer) {
        let operation = format!("/paths/{}/{method}", path.replace('/', "~1"));
        self.check_response(&format!("{operation}/responses/{}", answer.status), answer);
    }

    pub(super) fn check_response(&mut self, response: &str, answer: &Answer) {
        let mut response = response.to_owned();
        let document = document();
        let mut described = document.pointer(&response);
        if let Some(shared) = described.and_then(|d| d["$ref"].as_str()) {
            response = shared[1..].to_owned();
            described = document.pointer(&response);
        }
        let described = described.unwrap_or_else(|| panic!("no {response} for {answer:?}"));
        for (name, _) in described["headers"].as_object().into_iter().flatten() {
            let is_optional = name == "Idempotent-Replayed";
            assert!(is_optional || answer.header(name).is_some(), "{name}: {answer:?}");
        }
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        let media = answer.header("content-type").unwrap();
        let known = described["content"].get(media);
        assert!(known.is_some(), "{response} has no {media}: {answer:?}");
        let body = match media.starts_with("text/") {
            true => json!(answer.body),
            false => answer.json(),
        };
        let pointer = format!("{response}/content/{}/schema", media.replace('/', "~1"));
        assert_eq!(self.fault(&pointer, &body), None, "{answer:?}");
    }
}

pub(super) fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}
