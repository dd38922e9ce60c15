//! `GET /openapi.json`: the description of the API that the array serves of itself, made from the table of calls, so that
//! what is described and what is routed cannot differ. OpenAPI 3.1; without a log-in, since it says nothing of what is stored.

use serde_json::{Map, Value, json};

use crate::dialect::is_new;
use crate::routes::{self, Field, Kind, Line, Route, Shape, Work, is_id};
use crate::{RestState, handle::ROOT};

/// Most characters of text that the description suggests; the array's own limits are told by its refusals.
const TEXT: usize = 255;

/// The description for this array: its device id, and the calls that its product knows.
pub(crate) fn describe(state: &RestState) -> Value {
    let (serial, product, new) = {
        let array = state.inner().array.lock();
        (array.serial().to_owned(), array.product().to_owned(), is_new(&array))
    };
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::all().filter(|route| route.line == Line::Any || new) {
        let device = match route.work {
            Work::Login => "xx",
            Work::Logout | Work::Object(_) => "{deviceid}",
        };
        let path = format!("{ROOT}{device}/{}", route.path);
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[route.method.to_ascii_lowercase()] = operation(route, &serial);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Management API of a simulated array",
            "version": product,
            "description": "Errors come under HTTP 200, as error.code; every attribute is a string.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "iBaseToken"}},
            "schemas": {"Object": object(), "Error": error()},
        },
    })
}

/// One call.
fn operation(route: &Route, serial: &str) -> Value {
    let fields = || route.fields.iter().copied().flatten();
    let in_body = matches!(route.method, "POST" | "PUT");
    let mut parameters = Vec::new();
    if !matches!(route.work, Work::Login) {
        let schema = json!({"type": "string", "const": serial});
        parameters.push(json!({"name": "deviceid", "in": "path", "required": true, "schema": schema}));
    }
    for part in route.path.split('/').filter(|part| is_id(part)) {
        let name = part.trim_matches(['{', '}']);
        let schema = json!({"type": "string", "minLength": 1, "maxLength": TEXT});
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    if !in_body {
        parameters.extend(fields().map(|field| {
            let schema = in_query(field.kind);
            json!({"name": field.name, "in": "query", "required": field.needed, "schema": schema})
        }));
    }
    if route.shape == Shape::List {
        let filter = json!({"type": "string", "pattern": "^[A-Za-z]+::?[^&]*$", "maxLength": TEXT});
        parameters.push(json!({
            "name": "filter", "in": "query", "schema": filter,
            "description": "NAME::value for equal, NAME:value for contained.",
        }));
        let range = json!({"type": "string", "pattern": "^\\[[0-9]{1,6}-[0-9]{1,6}\\]$"});
        parameters.push(json!({
            "name": "range", "in": "query", "schema": range,
            "description": "[a-b] gives the items a to b-1.",
        }));
    }
    let mut out = json!({
        "operationId": operation_id(route),
        "summary": route.what,
        "tags": [route.object()],
        "parameters": parameters,
        "responses": {"200": {
            "description": "The answer; error.code tells success (0) from failure.",
            "content": {"application/json": {"schema": envelope(route.shape)}},
        }},
    });
    if in_body {
        out["requestBody"] = json!({
            "required": fields().any(|field| field.needed),
            "content": {"application/json": {"schema": body(fields())}},
        });
    }
    if matches!(route.work, Work::Login) {
        out["security"] = json!([]);
    }
    out
}

/// `putLunExpand`, `getLunById`.
fn operation_id(route: &Route) -> String {
    let mut out = route.method.to_ascii_lowercase();
    for word in route.path.split(['/', '_']) {
        let word = if is_id(word) { "byId" } else { word };
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}

fn body<'a>(fields: impl Iterator<Item = &'a Field>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        properties.insert(field.name.to_owned(), in_body(field.kind));
        if field.needed {
            required.push(field.name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// A value in a body: clients send numbers as strings and strings as numbers.
fn in_body(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": ["string", "integer"], "maxLength": TEXT}),
        Kind::Number | Kind::Id => {
            json!({"type": ["string", "integer"], "pattern": "^[0-9]{1,15}$", "minimum": 0})
        }
        Kind::Name => json!({"type": "string", "minLength": 1, "maxLength": TEXT}),
        Kind::Truth => json!({"enum": ["true", "false", "1", "0", true, false]}),
        Kind::List => json!({
            "type": ["array", "string"],
            "items": {"type": ["string", "integer", "object"]},
            "maxItems": 64,
        }),
        Kind::Choice(words) => {
            let numbers = words.iter().filter_map(|word| word.parse::<u64>().ok()).map(Value::from);
            let all: Vec<Value> = words.iter().map(|word| json!(word)).chain(numbers).collect();
            json!({"enum": all})
        }
    }
}

/// A value in a query: text.
fn in_query(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::List => json!({"type": "string", "maxLength": TEXT}),
        Kind::Number | Kind::Id => json!({"type": "string", "pattern": "^[0-9]{1,15}$"}),
        Kind::Name => json!({"type": "string", "minLength": 1, "maxLength": TEXT}),
        Kind::Truth => json!({"type": "string", "enum": ["true", "false", "1", "0"]}),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
    }
}

fn envelope(shape: Shape) -> Value {
    let object = json!({"$ref": "#/components/schemas/Object"});
    // An empty list is no list, and a refusal has an empty object in its place.
    let data = match shape {
        Shape::One => object,
        Shape::List => json!({"anyOf": [{"type": "array", "items": object}, object]}),
    };
    json!({
        "type": "object",
        "properties": {"data": data, "error": {"$ref": "#/components/schemas/Error"}},
        "required": ["error"],
        "additionalProperties": false,
    })
}

fn object() -> Value {
    json!({"type": "object", "additionalProperties": {"type": ["string", "integer"]}})
}

fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "code": {"type": ["integer", "string"], "description": "0 is success. One code is a string."},
            "description": {"type": "string"},
        },
        "required": ["code", "description"],
        "additionalProperties": false,
    })
}
