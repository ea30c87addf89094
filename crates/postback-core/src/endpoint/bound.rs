//! Whether a row can be sent, told without filling it in, which costs several times as much.

use super::{Body, Endpoint, MAX_BODY, MAX_HEADER, MAX_REF, MAX_URL, headers::has_control};
use crate::value::{Row, Value};

impl Endpoint {
    /// For a row that can surely be filled in: what target, headers and body come to at most, in bytes. `None`:
    /// [`Endpoint::fill`] is to judge. So it is for lists and objects, most of what may go wrong in a path, and wherever the
    /// bound is above a limit.
    pub(crate) fn bound(&self, row: &Row<'_>) -> Option<usize> {
        if self.refused(row).is_some() {
            return None;
        }
        // One more: the slash of a target that has none.
        let target = within(1 + self.target.bound(row)?, MAX_URL.checked_sub(self.before_target)?)?;
        if let Some(reference) = &self.reference {
            within(reference.bound(row, |_| false)?, MAX_REF)?;
        }
        Some(target + self.headers_bound(row)? + self.body_bound(row)?)
    }

    fn headers_bound(&self, row: &Row<'_>) -> Option<usize> {
        let mut bound = self.content_type.map_or(0, |value| "Content-Type".len() + value.len());
        for ((name, _), value) in self.template.headers.iter().zip(&self.headers) {
            bound += name.len() + within(value.bound(row, has_control)?, MAX_HEADER)?;
        }
        Some(bound)
    }

    fn body_bound(&self, row: &Row<'_>) -> Option<usize> {
        match (&self.body, row.get(self.names.len())) {
            (Body::None, _) => Some(0),
            (Body::Row, Some(Value::Literal(json))) => Some(json.len()),
            (Body::Row, _) => None,
            (Body::Template(template), _) => within(template.bound(row, |_| false)?, MAX_BODY),
        }
    }
}

fn within(bound: usize, limit: usize) -> Option<usize> {
    (bound <= limit).then_some(bound)
}
