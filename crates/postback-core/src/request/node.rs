//! A value of the request together with its place, so that whatever is wrong with it names where.

use std::{borrow::Cow, fmt::Display};

use super::{
    cursor::{Unread, duplicate},
    json::Json,
    problems::{Problem, Problems},
};

/// A value and its place: `policy.retries[3]`.
#[derive(Debug, Clone)]
pub(super) struct Node<'b> {
    pub(super) json: Json<'b>,
    pub(super) place: String,
}

impl<'b> Node<'b> {
    /// The whole request.
    pub(super) fn root(json: Json<'b>) -> Node<'b> {
        Node { json, place: String::new() }
    }

    /// What is wrong with it.
    pub(super) fn bad(&self, reason: impl Display) -> Problem {
        Problem::new(self.json.text().as_ptr(), self.shown(), reason)
    }

    /// The error that a value of another kind gets.
    pub(super) fn not(&self, wanted: &str) -> Problem {
        self.bad(format_args!("must be {wanted}, not {}", self.json.kind()))
    }

    /// The error of an object without this field, which comes behind those of the fields it has.
    fn lacks(&self, name: &str) -> Problem {
        let end = self.json.text().as_bytes().as_ptr_range().end;
        Problem::new(end, self.shown(), format_args!("`{name}` is missing"))
    }

    fn shown(&self) -> &str {
        if self.place.is_empty() { "request" } else { &self.place }
    }

    /// A string.
    pub(super) fn text(&self) -> Result<Cow<'b, str>, Problem> {
        match self.json.first() {
            b'"' => Ok(self.json.cursor().string()),
            _ => Err(self.not("a string")),
        }
    }

    /// A list's items.
    pub(super) fn items(&self) -> Result<Vec<Node<'b>>, Problem> {
        if self.json.first() != b'[' {
            return Err(self.not("a list"));
        }
        let (mut cursor, mut items) = (self.json.cursor(), Vec::new());
        while cursor.item() {
            let place = format!("{}[{}]", self.place, items.len());
            items.push(Node { json: cursor.skip(), place });
        }
        Ok(items)
    }

    /// Whether it is null, which means the same as absent.
    pub(super) fn is_null(&self) -> bool {
        self.json.first() == b'n'
    }

    /// An object's members.
    pub(super) fn members(&self) -> Result<Vec<(Cow<'b, str>, Node<'b>)>, Problem> {
        if self.json.first() != b'{' {
            return Err(self.not("an object"));
        }
        let (mut cursor, mut members) = (self.json.cursor(), Vec::new());
        while let Some(key) = cursor.member() {
            let place = match self.place.as_str() {
                "" => key.to_string(),
                place => format!("{place}.{key}"),
            };
            members.push((key, Node { json: cursor.skip(), place }));
        }
        if let Some(key) = duplicate(members.iter().map(|(key, _)| key.as_ref())) {
            return Err(self.bad(Unread::Duplicate(key.to_owned())));
        }
        Ok(members)
    }

    /// An object's fields that are not null, in the order of `names`; every other name is refused. None at all when
    /// it is no object, or has a key twice and so leaves open which is meant.
    pub(super) fn fields<const N: usize>(
        &self,
        names: [&str; N],
        problems: &mut Problems,
    ) -> Option<[Option<Node<'b>>; N]> {
        let mut fields = [const { None }; N];
        for (key, node) in problems.note(self.members())? {
            if let Some(known) = names.iter().position(|name| *name == key) {
                fields[known] = (!node.is_null()).then_some(node);
            } else if !problems.is_full() {
                let known = names.join(", ");
                problems.add(node.bad(format_args!("unknown field; known are {known}")));
            }
        }
        Some(fields)
    }

    /// A field that must be there.
    pub(super) fn required(
        &self,
        name: &str,
        field: Option<Node<'b>>,
        problems: &mut Problems,
    ) -> Option<Node<'b>> {
        problems.note(field.ok_or_else(|| self.lacks(name)))
    }
}
